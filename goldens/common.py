"""What both golden files and their Rust tests share: inputs, and dropout masks.

Inputs are computed, never stored: an element is a hash of its position and a salt, so that a test
in any language finds the same tensor.  Shapes are PyTorch's: activations (N, C, H, W), convolution
weights (K, C/groups, R, S), linear weights (out, in); positions are counted in that order.
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

WORD = 0xFFFF_FFFF


def uniform(shape, salt, scale=1.0, offset=0.0, levels=0):
    """f32 values `offset + scale * u`, u uniform in [-1, 1).

    `levels` > 0 rounds u down to a multiple of 1/levels: few values, many ties.
    """
    h = np.arange(np.prod(shape), dtype=np.uint32) * np.uint32(0x9E37_79B1)
    h += np.uint32(salt * 0x85EB_CA77 & WORD)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x2C1B_3C6D)
    h ^= h >> np.uint32(12)
    h *= np.uint32(0x297A_2D39)
    h ^= h >> np.uint32(15)
    u = (h >> np.uint32(8)).astype(np.float32) / np.float32(2**23) - np.float32(1)
    if levels:
        u = np.floor(u * np.float32(levels)) / np.float32(levels)
    return (np.float32(offset) + np.float32(scale) * u).reshape(shape)


def philox(counter, key):
    """Philox4x32-10 (Salmon et al., SC 2011): four random words for each counter of four words.

    A word of the counter is a number or an array; the words of the result are arrays.
    """
    c = [np.asarray(word, dtype=np.uint64) for word in counter]
    k = [np.uint64(word) for word in key]
    low, high = np.uint64(WORD), np.uint64(32)
    for _ in range(10):
        first, second = c[0] * np.uint64(0xD251_1F53), c[2] * np.uint64(0xCD9E_8D57)
        c = [second >> high ^ c[1] ^ k[0], second & low, first >> high ^ c[3] ^ k[1], first & low]
        k = [k[0] + np.uint64(0x9E37_79B9) & low, k[1] + np.uint64(0xBB67_AE85) & low]
    return c


def dropout_mask(shape, rate, seed, step, layer):
    """1.0 where dropout keeps an element, 0.0 elsewhere.

    Elements are counted channels-last, as the devices hold them: N, H, W, C.
    """
    count = int(np.prod(shape))
    quads = np.arange((count + 3) // 4, dtype=np.uint64)
    words = philox([quads, layer, step & WORD, step >> 32], [seed & WORD, seed >> 32])
    words = np.stack(np.broadcast_arrays(*words), axis=1).reshape(-1)[:count]
    kept = (words >= int(float(np.float32(rate)) * 2**32)).astype(np.float64)
    if len(shape) == 4:
        n, c, h, w = shape
        kept = kept.reshape(n, h, w, c).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(kept).reshape(shape))


def lrn_across_maps(x, size, alpha, beta, k, groups):
    """Local response normalisation within each of `groups` towers.

    `alpha` multiplies the plain sum of squares.
    PyTorch multiplies alpha by their mean, hence alpha * size.
    """
    normalise = torch.nn.functional.local_response_norm
    towers = [normalise(tower, size, alpha * size, beta, k) for tower in x.chunk(groups, dim=1)]
    return torch.cat(towers, dim=1)


def lrn_same_map(x, size, alpha, beta, k):
    """Local response normalisation over a size x size window of one map, zeros outside."""
    mean = torch.nn.functional.avg_pool2d(
        x.square(), size, stride=1, padding=size // 2, count_include_pad=True
    )
    return x * (k + alpha * size**2 * mean) ** -beta


def write(name, tensors, **metadata):
    """Saves tensors as f32 with JSON metadata, beside this script."""
    path = Path(__file__).with_name(name)
    arrays = {name: tensor.detach().float().numpy() for name, tensor in tensors.items()}
    save_file(arrays, path, {key: json.dumps(value) for key, value in metadata.items()})
    path.chmod(0o644)


def check_philox():
    """Random123's published vectors, philox4x32 with 10 rounds."""
    pi = [0x243F_6A88, 0x85A3_08D3, 0x1319_8A2E, 0x0370_7344], [0xA409_3822, 0x299F_31D0]
    for counter, key, expected in [
        ([0] * 4, [0] * 2, [0x6627_E8D5, 0xE169_C58D, 0xBC57_AC4C, 0x9B00_DBD8]),
        ([WORD] * 4, [WORD] * 2, [0x408F_276D, 0x41C8_3B0E, 0xA20B_C7C6, 0x6D54_51FD]),
        (*pi, [0xD16C_FE09, 0x94FD_CCEB, 0x5001_E420, 0x2412_6EA1]),
    ]:
        assert [int(word) for word in philox(counter, key)] == expected


check_philox()
