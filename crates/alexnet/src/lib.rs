//! AlexNet, whole: the library behind the program `alexnet`.
//!
//! Each module is one crate of the workspace; `ARCHITECTURE.md` draws how they fit. To follow the
//! data: [`data`] makes batches, [`network`] runs a table of layers on an [`ops::Device`] such as
//! [`cpu::Cpu`] or [`cuda::Cuda`], [`train`] moves the weights, [`weights`] keeps them, [`predict`] uses them;
//! [`figures`] draws, [`lab`] puts published claims to the test.

pub use alexnet_cpu as cpu;
pub use alexnet_cuda as cuda;
pub use alexnet_data as data;
pub use alexnet_figures as figures;
pub use alexnet_lab as lab;
pub use alexnet_network as network;
pub use alexnet_ops as ops;
pub use alexnet_predict as predict;
pub use alexnet_train as train;
pub use alexnet_weights as weights;
