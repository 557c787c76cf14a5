//! The matrix unit of x86-64 (AMX).

/// Whether this processor and system let a program use tiles of bf16.
pub(crate) fn is_available() -> bool {
    false
}
