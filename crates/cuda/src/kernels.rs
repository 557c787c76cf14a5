//! The kernels' sources, one file a story under `kernels/`.

use std::sync::LazyLock;

const FILES: [&str; 10] = [
    include_str!("../kernels/common.cuh"),
    include_str!("../kernels/elementwise.cu"),
    include_str!("../kernels/dropout.cu"),
    include_str!("../kernels/pool.cu"),
    include_str!("../kernels/lrn.cu"),
    include_str!("../kernels/reduce.cu"),
    include_str!("../kernels/batch_norm.cu"),
    include_str!("../kernels/loss.cu"),
    include_str!("../kernels/sgd.cu"),
    include_str!("../kernels/unfold.cu"),
];

/// All of them as one source: what is compiled when a device is opened.
pub fn source() -> &'static str {
    static SOURCE: LazyLock<String> = LazyLock::new(|| FILES.join("\n"));
    &SOURCE
}
