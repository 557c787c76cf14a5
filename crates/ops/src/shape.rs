//! The geometry of each operation. Shapes are plain numbers, decided once by the plan; operations
//! trust them.

/// How a window that does not divide its input evenly ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// The last window lies inside the input: `floor((in + 2·pad − kernel) / stride) + 1`.
    Floor,
    /// The last window may stick out at the bottom and right, as in the 2012 code and in Caffe's
    /// pooling.
    Ceil,
}

/// Output positions of a window of `kernel` moved by `stride` over `input + 2·pad`, or `None` if it
/// does not fit.
pub fn output_size(
    input: usize,
    kernel: usize,
    stride: usize,
    pad: usize,
    rounding: Rounding,
) -> Option<usize> {
    let span = (input + 2 * pad).checked_sub(kernel)?;
    let steps = match rounding {
        Rounding::Floor => span / stride,
        // Caffe's rule as well: a last window must still begin inside the input.
        Rounding::Ceil => span.div_ceil(stride).min((input + pad - 1) / stride),
    };
    Some(steps + 1)
}

/// A convolution with a square kernel. Positions outside the input read as zero on all sides, so
/// `pad` is the offset of the first window and the output size says how far the windows run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// N: images.
    pub batch: usize,
    /// H: input rows.
    pub in_h: usize,
    /// W: input columns.
    pub in_w: usize,
    /// C: input channels, over all groups.
    pub in_c: usize,
    /// P: output rows.
    pub out_h: usize,
    /// Q: output columns.
    pub out_w: usize,
    /// K: output channels, over all groups.
    pub out_c: usize,
    /// R = S: kernel side.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Zeros before the first row and column.
    pub pad: usize,
    /// Output channel block g sees only input channel block g.
    pub groups: usize,
}

impl ConvShape {
    /// Elements of the input `(N, H, W, C)`.
    pub fn input_len(&self) -> usize {
        self.batch * self.in_h * self.in_w * self.in_c
    }
    /// Elements of the output `(N, P, Q, K)`.
    pub fn output_len(&self) -> usize {
        self.batch * self.out_h * self.out_w * self.out_c
    }
    /// Elements of one kernel: R·S·C/groups.
    pub fn kernel_len(&self) -> usize {
        self.kernel * self.kernel * self.in_c / self.groups
    }
    /// Elements of the weights `(K, R, S, C/groups)`.
    pub fn weights_len(&self) -> usize {
        self.out_c * self.kernel_len()
    }
    /// Multiply-adds of one forward pass.
    pub fn macs(&self) -> usize {
        self.output_len() * self.kernel_len()
    }
    /// The input coordinate under kernel tap `tap` of window `window`, if it lies in `0..limit`.
    pub fn tap(&self, window: usize, tap: usize, limit: usize) -> Option<usize> {
        (window * self.stride + tap).checked_sub(self.pad).filter(|&at| at < limit)
    }
}

/// A linear layer: `(N, in) -> (N, out)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinearShape {
    /// N: images.
    pub batch: usize,
    /// Input features.
    pub inputs: usize,
    /// Output features.
    pub outputs: usize,
}

/// Softmax and cross-entropy: logits `(N, classes)`, losses `(N)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossShape {
    /// N: images.
    pub images: usize,
    /// Classes.
    pub classes: usize,
    /// Images the gradient is of the mean over: more than N where a batch is taken in parts.
    pub mean_over: usize,
    /// e: the target is 1 − e + e / classes for the label, e / classes for every other class, as
    /// PyTorch's `label_smoothing` has it (Szegedy and others 2016, §7).
    pub smoothing: f32,
}

/// Max pooling with a square window and no padding; a window may stick out at the bottom and right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaxPoolShape {
    /// N: images.
    pub batch: usize,
    /// H: input rows.
    pub in_h: usize,
    /// W: input columns.
    pub in_w: usize,
    /// P: output rows.
    pub out_h: usize,
    /// Q: output columns.
    pub out_w: usize,
    /// C: channels.
    pub channels: usize,
    /// Window side; at most [`MaxPoolShape::SIZE_MAX`], so that a position in it fits seven bits.
    pub size: usize,
    /// Step between windows; smaller than `size` means overlapping pooling (paper §3.4).
    pub stride: usize,
}

impl MaxPoolShape {
    /// Largest window side: 11·11 = 121 positions fit seven bits of a byte, and a device has one for
    /// itself.
    pub const SIZE_MAX: usize = 11;
    /// Elements of the input `(N, H, W, C)`.
    pub fn input_len(&self) -> usize {
        self.batch * self.in_h * self.in_w * self.channels
    }
    /// Elements of the output `(N, P, Q, C)`.
    pub fn output_len(&self) -> usize {
        self.batch * self.out_h * self.out_w * self.channels
    }
}

/// Adaptive average pooling: output cell i averages inputs `floor(i·in/out) .. ceil((i+1)·in/out)`,
/// as PyTorch's `AdaptiveAvgPool2d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AveragePoolShape {
    /// N: images.
    pub batch: usize,
    /// H: input rows.
    pub in_h: usize,
    /// W: input columns.
    pub in_w: usize,
    /// P: output rows.
    pub out_h: usize,
    /// Q: output columns.
    pub out_w: usize,
    /// C: channels.
    pub channels: usize,
}

impl AveragePoolShape {
    /// Elements of the input `(N, H, W, C)`.
    pub fn input_len(&self) -> usize {
        self.batch * self.in_h * self.in_w * self.channels
    }
    /// Elements of the output `(N, P, Q, C)`.
    pub fn output_len(&self) -> usize {
        self.batch * self.out_h * self.out_w * self.channels
    }
    /// The input range averaged by output cell `cell` of `cells` over `size` inputs.
    pub fn window(cell: usize, cells: usize, size: usize) -> std::ops::Range<usize> {
        cell * size / cells..((cell + 1) * size).div_ceil(cells)
    }
}

/// Where local response normalisation looks for neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LrnRegion {
    /// At the same place in neighbouring maps of the same tower (paper §3.3).
    AcrossMaps {
        /// Towers: the window stops at their borders. 2 in the 2012 code, 1 in Caffe.
        groups: usize,
    },
    /// At neighbouring places of the same map, a square window: the 2012 code's second
    /// normalisation after conv2.
    SameMap,
}

/// Local response normalisation: `y = x · (k + alpha · Σ x²)^−beta`, the sum over a window of
/// `size` (a side of `size` for the same-map form), cut at the border. `alpha` multiplies the plain
/// sum: where a framework divides by the window, the table has divided already.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LrnShape {
    /// N: images.
    pub batch: usize,
    /// H: rows.
    pub height: usize,
    /// W: columns.
    pub width: usize,
    /// C: maps.
    pub channels: usize,
    /// Where the window lies.
    pub region: LrnRegion,
    /// Window length; begins `size / 2` before the element.
    pub size: usize,
    /// Factor of the sum of squares.
    pub alpha: f32,
    /// Exponent.
    pub beta: f32,
    /// Constant added to the sum.
    pub k: f32,
}

impl LrnShape {
    /// Elements of input and output `(N, H, W, C)`.
    pub fn len(&self) -> usize {
        self.batch * self.height * self.width * self.channels
    }
    /// Whether there is nothing to normalise.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The window around element `at` of a row of elements that begins at `first` and ends before
    /// `end`.
    pub fn window(&self, at: usize, first: usize, end: usize) -> std::ops::Range<usize> {
        let begin = (first + self.size / 2).max(at) - self.size / 2;
        begin..(at + self.size - self.size / 2).min(end)
    }
    /// The elements whose [`window`](Self::window) holds `at`: the same, mirrored.
    pub fn mirrored_window(&self, at: usize, first: usize, end: usize) -> std::ops::Range<usize> {
        let before = self.size - self.size / 2 - 1;
        (first + before).max(at) - before..(at + self.size / 2 + 1).min(end)
    }
    /// The maps `first..end` of the tower that map `channel` belongs to.
    pub fn tower(&self, channel: usize, groups: usize) -> (usize, usize) {
        let maps = self.channels / groups;
        let first = channel / maps * maps;
        (first, first + maps)
    }
}

/// Batch normalisation over the last axis: each channel over all `rows` = N·H·W places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormShape {
    /// N·H·W: places a channel is averaged over.
    pub rows: usize,
    /// C: channels.
    pub channels: usize,
    /// Added to the variance. PyTorch: 1e-5.
    pub epsilon: f32,
    /// Share of the new batch in the running statistics. PyTorch: 0.1.
    pub momentum: f32,
}
