//! Matrix products, by cuBLAS.

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::cublas::{result as cublas, sys as cublas_sys};
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr};

use super::error::CudaError;
use super::gpu::{Gpu, driver, no_room};
use super::memory::{Reals, RealsMut};
use crate::Products;

/// A factor or result of a product: `batch` matrices in an array, each with rows `stride` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Matrix {
    /// Elements from one row to the next.
    pub(crate) row: usize,
    /// Elements from one matrix to the next.
    pub(crate) next: usize,
    /// Whether the rows in memory are the columns of the product.
    pub(crate) turned: bool,
}

/// `c = a · b`, or added to what stands in c, with rows by rows, for each of `batch` matrices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    pub(crate) batch: usize,
    /// Of a and c.
    pub(crate) rows: usize,
    /// Of b and c.
    pub(crate) columns: usize,
    /// Columns of a, rows of b.
    pub(crate) depth: usize,
    pub(crate) a: Matrix,
    pub(crate) b: Matrix,
    pub(crate) c: Matrix,
    /// Whether the product is added to c.
    pub(crate) adds: bool,
}

impl Reals<'_> {
    fn kind(&self) -> cublas_sys::cudaDataType {
        match self {
            Self::F32(_) => cublas_sys::cudaDataType::CUDA_R_32F,
            Self::Bf16(_) => cublas_sys::cudaDataType::CUDA_R_16BF,
        }
    }
}

impl RealsMut<'_> {
    fn kind(&self) -> cublas_sys::cudaDataType {
        match self {
            Self::F32(_) => cublas_sys::cudaDataType::CUDA_R_32F,
            Self::Bf16(_) => cublas_sys::cudaDataType::CUDA_R_16BF,
        }
    }
}

impl Matrix {
    /// Elements from the first to the last that `batch` matrices of `rows` by `columns` touch.
    fn reach(self, batch: usize, rows: usize, columns: usize) -> usize {
        let (rows, columns) = if self.turned { (columns, rows) } else { (rows, columns) };
        assert!(columns <= self.row, "rows that overlap");
        (batch - 1) * self.next + (rows - 1) * self.row + columns
    }
}

impl Gpu {
    /// Forms a product. Factors are both `f32` or both bf16; sums are `f32`, and rounded to bf16 where
    /// the result is to be so.
    ///
    /// # Panics
    /// When an array is shorter than the product says.
    pub(crate) fn multiply(&self, c: RealsMut<'_>, a: Reals<'_>, b: Reals<'_>, product: &Product) {
        let Product { batch, rows, columns, depth, .. } = *product;
        assert!(batch > 0 && rows > 0 && columns > 0 && depth > 0, "{product:?}");
        assert!(product.a.reach(batch, rows, depth) <= a.len(), "first factor of {product:?}");
        assert!(product.b.reach(batch, depth, columns) <= b.len(), "second factor of {product:?}");
        assert!(product.c.reach(batch, rows, columns) <= c.len(), "result of {product:?}");
        assert!(a.kind() == b.kind() && !product.c.turned, "{product:?}");
        if !self.touches_on_main(&[c.touch(), a.touch(), b.touch()]) {
            return;
        }
        let name = || {
            let each = if batch > 1 { format!("{batch} times ") } else { String::new() };
            format!("product {each}{rows} x {depth} x {columns}")
        };
        self.timed(name, || {
            let formed = self.products.multiply(c, a, b, product);
            self.asked_of(formed, |error| products("multiply", error));
        });
    }
}

fn products(doing: &'static str, error: cublas::CublasError) -> CudaError {
    CudaError::Products { doing, code: format!("{:?}", error.0) }
}

/// cuBLAS on one stream.
pub(super) struct ProductHandle {
    handle: cublas_sys::cublasHandle_t,
    stream: Arc<CudaStream>,
    /// Whether `f32` may be rounded to TF32.
    tf32: bool,
    /// What it works in. Its own it might take in the midst of a recording.
    _room: CudaSlice<u8>,
}

/// Room for products: what NVIDIA advises for the largest GPUs.
const PRODUCTS_BYTES: usize = 32 << 20;

// SAFETY: the handle may be used from any thread, though not from two at a time; a `Gpu` is behind
// the lock of its device.
unsafe impl Send for ProductHandle {}
// SAFETY: as above.
unsafe impl Sync for ProductHandle {}

impl ProductHandle {
    pub(super) fn new(stream: &Arc<CudaStream>, kind: Products) -> Result<Self, CudaError> {
        stream.context().bind_to_thread().map_err(|error| driver("be used", error))?;
        let handle = cublas::create_handle().map_err(|error| products("start", error))?;
        let room = stream.alloc_zeros::<u8>(PRODUCTS_BYTES);
        let room = room.map_err(|error| no_room(PRODUCTS_BYTES, error))?;
        let address = room.device_ptr(stream).0;
        let this =
            Self { handle, stream: stream.clone(), tf32: kind == Products::Tf32, _room: room };
        // SAFETY: both are live: the stream is kept beside the handle.
        unsafe { cublas::set_stream(handle, stream.cu_stream().cast()) }
            .map_err(|error| products("take a stream", error))?;
        // SAFETY: the array has so many bytes and is kept beside the handle.
        let set = unsafe {
            cublas_sys::cublasSetWorkspace_v2(handle, address as *mut c_void, PRODUCTS_BYTES)
        };
        set.result().map_err(|error| products("take its room", error))?;
        Ok(this)
    }

    /// cuBLAS reads matrices column by column, and so read a matrix is its transpose. Therefore it is
    /// asked for `cᵀ = bᵀ · aᵀ`, of which it finds every part in memory as it wants it.
    fn multiply(
        &self,
        c: RealsMut<'_>,
        a: Reals<'_>,
        b: Reals<'_>,
        product: &Product,
    ) -> Result<(), cublas::CublasError> {
        let int = |value: usize| i32::try_from(value).expect("a size of a product");
        let long = |value: usize| i64::try_from(value).expect("a distance of matrices");
        let operation = |matrix: Matrix| match matrix.turned {
            true => cublas_sys::cublasOperation_t::CUBLAS_OP_T,
            false => cublas_sys::cublasOperation_t::CUBLAS_OP_N,
        };
        let (one, old): (f32, f32) = (1.0, if product.adds { 1.0 } else { 0.0 });
        // Products of f32 in full, unless TF32 was asked for.
        let compute = match (self.tf32, a) {
            (true, Reals::F32(_)) => cublas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            _ => cublas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        // SAFETY: the handle is live; the arrays are on the device and as long as the product reaches,
        // which `Gpu::multiply` has seen to; the two factors before the sums are read before this
        // returns.
        unsafe {
            cublas::gemm_strided_batched_ex(
                self.handle,
                operation(product.b),
                operation(product.a),
                int(product.columns),
                int(product.rows),
                int(product.depth),
                std::ptr::from_ref(&one).cast(),
                b.address() as *const c_void,
                b.kind(),
                int(product.b.row),
                long(product.b.next),
                a.address() as *const c_void,
                a.kind(),
                int(product.a.row),
                long(product.a.next),
                std::ptr::from_ref(&old).cast(),
                c.address() as *mut c_void,
                c.kind(),
                int(product.c.row),
                long(product.c.next),
                int(product.batch),
                compute,
                cublas_sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
    }
}

impl Drop for ProductHandle {
    fn drop(&mut self) {
        if self.stream.context().bind_to_thread().is_ok() {
            // SAFETY: the handle is live and nobody's after this. A failure leaks it.
            let _ = unsafe { cublas::destroy_handle(self.handle) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_reaches_to_its_last_element() {
        let plain = Matrix { row: 10, next: 100, turned: false };
        assert_eq!(plain.reach(1, 1, 1), 1);
        assert_eq!(plain.reach(3, 4, 5), 200 + 30 + 5);
        let turned = Matrix { turned: true, ..plain };
        assert_eq!(turned.reach(3, 4, 5), 200 + 40 + 4);
    }
}
