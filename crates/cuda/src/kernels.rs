//! The kernels' sources, one file a story under `kernels/`.

use std::sync::LazyLock;

use alexnet_ops::Precision;

const FILES: [&str; 14] = [
    include_str!("../kernels/common.cuh"),
    include_str!("../kernels/images.cu"),
    include_str!("../kernels/reduce.cu"),
    include_str!("../kernels/elementwise.cu"),
    include_str!("../kernels/linear_few.cu"),
    include_str!("../kernels/dropout.cu"),
    include_str!("../kernels/pool.cu"),
    include_str!("../kernels/lrn.cu"),
    include_str!("../kernels/batch_norm.cu"),
    include_str!("../kernels/loss.cu"),
    include_str!("../kernels/sgd.cu"),
    include_str!("../kernels/unfold.cu"),
    include_str!("../kernels/blocks.cu"),
    include_str!("../kernels/groups.cu"),
];

/// Those that values in bf16 alone have a use for.
const NARROW_FILES: [&str; 2] =
    [include_str!("../kernels/matrix_unit.cuh"), include_str!("../kernels/linear_gradient.cu")];

/// All of them as one source, for values of this precision: what is compiled when a device is opened.
pub fn source(precision: Precision) -> &'static str {
    static WIDE: LazyLock<String> = LazyLock::new(|| joined("float", &[]));
    static NARROW: LazyLock<String> = LazyLock::new(|| joined("u16", &NARROW_FILES));
    match precision {
        Precision::F32 => &WIDE,
        Precision::Bf16 => &NARROW,
    }
}

fn joined(value: &str, more: &[&str]) -> String {
    let [common, rest @ ..] = FILES;
    let types = format!("typedef unsigned short u16;\ntypedef {value} value;\n");
    [&[&types[..], common], &rest[..], more].concat().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::LINE;
    use crate::driver::{BLOCK, EIGHT, PIECE};
    use crate::groups::GROUP_ROWS;
    use crate::images::PICTURE_ROWS;
    use crate::linear::{DEPTH, OUTPUTS_EACH, SIDE};

    #[test]
    fn what_program_and_kernels_both_count_on_is_the_same_in_both() {
        for (name, number) in [
            ("EIGHT", EIGHT),
            ("PIECE", PIECE),
            ("GROUP_ROWS", GROUP_ROWS),
            ("PICTURE_ROWS", PICTURE_ROWS),
            ("SIDE", SIDE),
            ("DEPTH", DEPTH),
            ("OUTPUTS_EACH", OUTPUTS_EACH),
            ("THREADS", BLOCK),
            ("LINE", LINE),
        ] {
            let line = format!("const u32 {name} = {number};");
            assert!(source(Precision::Bf16).contains(&line), "{line}");
        }
    }
}
