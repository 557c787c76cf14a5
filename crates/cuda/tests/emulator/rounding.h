// How the libraries round numbers.
#pragma once
#include <cstdint>
#include <cstring>

// To the nearest bf16, of two as near to the even one; a NaN stays one.
inline uint16_t rounded(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

// To TF32: the fraction rounded to 10 bits.
inline float to_tf32(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    if ((bits & 0x7f800000u) != 0x7f800000u) bits = (bits + 0x1000u) & 0xffffe000u;
    std::memcpy(&value, &bits, 4);
    return value;
}
