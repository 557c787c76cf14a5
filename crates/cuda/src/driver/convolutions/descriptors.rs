//! A convolution as cuDNN wants to be told of it: by attributes of descriptors (its backend API), which
//! are values of changing type behind one pointer. [`Descriptor`] is the one place that passes them.

use std::ptr::null_mut;

use alexnet_ops::{ConvPass, ConvShape};
use cudarc::cudnn::result::CudnnError;
use cudarc::cudnn::sys::{
    self, cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type,
    cudnnBackendDescriptorType_t as Kind,
};

use super::plans::Target;

/// Arrays begin at multiples of this, where a plan may load them fastest.
const ALIGNMENT_BYTES: i64 = 16;

/// Numbers of x, w and y within a plan.
pub(super) const NUMBERS: [i64; 3] = [1, 2, 3];

pub(super) type Done<T> = Result<T, CudnnError>;

/// A graph of one operation, over arrays of this kind.
pub(super) fn graph(
    target: &Target,
    kind: sys::cudnnDataType_t,
    shape: &ConvShape,
    pass: ConvPass,
) -> Done<Descriptor> {
    let ConvShape { batch, in_h, in_w, in_c, out_h, out_w, out_c, kernel, groups, .. } = *shape;
    let [x, w, y] = NUMBERS;
    let x = tensor(x, kind, [batch, in_c, in_h, in_w])?;
    // That there are groups follows from the channels.
    let w = tensor(w, kind, [out_c, in_c / groups, kernel, kernel])?;
    let y = tensor(y, kind, [batch, out_c, out_h, out_w])?;
    let convolution = convolution(shape)?;
    let names = Names::of(pass);
    let mut operation = Descriptor::new(names.operation)?;
    for (name, child) in
        [(names.x, &x), (names.w, &w), (names.y, &y), (names.convolution, &convolution)]
    {
        operation.child(name, child)?;
    }
    operation.set(names.alpha, Type::CUDNN_TYPE_FLOAT, &[1.0_f32])?;
    operation.set(names.beta, Type::CUDNN_TYPE_FLOAT, &[0.0_f32])?;
    operation.finish()?;
    let mut graph = Descriptor::new(Kind::CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)?;
    graph.child(Name::CUDNN_ATTR_OPERATIONGRAPH_OPS, &operation)?;
    target.tell(&mut graph, [Some(Name::CUDNN_ATTR_OPERATIONGRAPH_HANDLE), None])?;
    graph.finish()?;
    Ok(graph)
}

/// What the attributes of an operation are called.
struct Names {
    operation: Kind,
    x: Name,
    w: Name,
    y: Name,
    convolution: Name,
    alpha: Name,
    beta: Name,
}

impl Names {
    fn of(pass: ConvPass) -> Self {
        match pass {
            ConvPass::Forward => Self {
                operation: Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                x: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                w: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                y: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                convolution: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                alpha: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                beta: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
            },
            ConvPass::BackwardInput => Self {
                operation: Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                x: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                w: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                y: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                convolution: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                alpha: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                beta: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
            },
            ConvPass::BackwardWeights => Self {
                operation: Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                x: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                w: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                y: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                convolution: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                alpha: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                beta: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
            },
        }
    }
}

/// An array with these sizes, channels before rows and columns as cuDNN counts them, and last in
/// memory.
fn tensor(number: i64, kind: sys::cudnnDataType_t, sizes: [usize; 4]) -> Done<Descriptor> {
    let [count, channels, rows, columns] = sizes.map(|size| size as i64);
    let strides = [rows * columns * channels, 1, columns * channels, channels];
    let mut tensor = Descriptor::new(Kind::CUDNN_BACKEND_TENSOR_DESCRIPTOR)?;
    tensor.set(Name::CUDNN_ATTR_TENSOR_DATA_TYPE, Type::CUDNN_TYPE_DATA_TYPE, &[kind])?;
    tensor.longs(Name::CUDNN_ATTR_TENSOR_DIMENSIONS, &[count, channels, rows, columns])?;
    tensor.longs(Name::CUDNN_ATTR_TENSOR_STRIDES, &strides)?;
    tensor.longs(Name::CUDNN_ATTR_TENSOR_UNIQUE_ID, &[number])?;
    tensor.longs(Name::CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, &[ALIGNMENT_BYTES])?;
    tensor.finish()?;
    Ok(tensor)
}

/// Strides and padding, with sums in f32. What the windows do not reach at the bottom and right is
/// not padded.
fn convolution(shape: &ConvShape) -> Done<Descriptor> {
    let after = |input: usize, output: usize| {
        let reach = (output - 1) * shape.stride + shape.kernel;
        (reach as i64 - (input + shape.pad) as i64).max(0)
    };
    let (stride, pad) = (shape.stride as i64, shape.pad as i64);
    let post = [after(shape.in_h, shape.out_h), after(shape.in_w, shape.out_w)];
    let mut convolution = Descriptor::new(Kind::CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR)?;
    let (f32, cross) = (
        [sys::cudnnDataType_t::CUDNN_DATA_FLOAT],
        [sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION],
    );
    let mode = Type::CUDNN_TYPE_CONVOLUTION_MODE;
    convolution.set(Name::CUDNN_ATTR_CONVOLUTION_COMP_TYPE, Type::CUDNN_TYPE_DATA_TYPE, &f32)?;
    convolution.set(Name::CUDNN_ATTR_CONVOLUTION_CONV_MODE, mode, &cross)?;
    convolution.longs(Name::CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, &[2])?;
    convolution.longs(Name::CUDNN_ATTR_CONVOLUTION_DILATIONS, &[1, 1])?;
    convolution.longs(Name::CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, &[stride, stride])?;
    convolution.longs(Name::CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, &[pad, pad])?;
    convolution.longs(Name::CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, &post)?;
    convolution.finish()?;
    Ok(convolution)
}

/// One of cuDNN's descriptors, destroyed with this value.
pub(super) struct Descriptor(pub(super) sys::cudnnBackendDescriptor_t);

impl Descriptor {
    pub(super) fn new(kind: Kind) -> Done<Self> {
        let mut descriptor = null_mut();
        // SAFETY: the pointer is to a descriptor that outlives the call.
        unsafe { sys::cudnnBackendCreateDescriptor(kind, &mut descriptor) }.result()?;
        Ok(Self(descriptor))
    }

    /// Sets an attribute of several values, whose type is the one `kind` names.
    pub(super) fn set<T: Copy>(&mut self, name: Name, kind: Type, values: &[T]) -> Done<()> {
        let count = values.len() as i64;
        // SAFETY: the descriptor is live, and cuDNN copies so many values before it returns.
        unsafe { sys::cudnnBackendSetAttribute(self.0, name, kind, count, values.as_ptr().cast()) }
            .result()
    }

    pub(super) fn longs(&mut self, name: Name, values: &[i64]) -> Done<()> {
        self.set(name, Type::CUDNN_TYPE_INT64, values)
    }

    /// Another descriptor, which cuDNN keeps for itself.
    pub(super) fn child(&mut self, name: Name, child: &Descriptor) -> Done<()> {
        self.set(name, Type::CUDNN_TYPE_BACKEND_DESCRIPTOR, &[child.0])
    }

    pub(super) fn finish(&mut self) -> Done<()> {
        // SAFETY: the descriptor is live.
        unsafe { sys::cudnnBackendFinalize(self.0) }.result()
    }

    /// Reads an attribute into `values`, whose type is the one `kind` names; how many there are.
    pub(super) fn get<T: Copy>(&self, name: Name, kind: Type, values: &mut [T]) -> Done<usize> {
        let mut count = 0_i64;
        let (room, into) = (values.len() as i64, values.as_mut_ptr().cast());
        // SAFETY: the descriptor is live, and there is room for as many values as are asked for.
        unsafe { sys::cudnnBackendGetAttribute(self.0, name, kind, room, &mut count, into) }
            .result()?;
        Ok(usize::try_from(count).unwrap_or(0))
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: the descriptor is live and nobody's after this. A failure leaks it.
        let _ = unsafe { sys::cudnnBackendDestroyDescriptor(self.0) };
    }
}
