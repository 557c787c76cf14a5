//! A strided convolution as one with stride 1 on fewer, deeper pixels.
//!
//! With stride s, blocks of s x s pixels become single pixels of C·s·s channels `(dy, dx, c)`, and a
//! kernel of side k becomes one of side ⌈k/s⌉ on them, with zeros where the original has no tap. The
//! first layer, 11x11 with stride 4 on 3 channels, becomes 3x3 with stride 1 on 48: what the fast
//! convolutions are made for.

use std::ops::Range;

use alexnet_ops::ConvShape;

/// The convolution with stride 1 that equals `shape` after the rearrangement, if there is one.
pub(crate) fn unit_stride(shape: &ConvShape) -> Option<ConvShape> {
    let ConvShape { stride, kernel, out_h, out_w, in_c, groups, .. } = *shape;
    if stride == 1 || groups != 1 {
        return None;
    }
    let kernel = kernel.div_ceil(stride);
    Some(ConvShape {
        in_h: out_h + kernel - 1,
        in_w: out_w + kernel - 1,
        in_c: in_c * stride * stride,
        kernel,
        stride: 1,
        pad: 0,
        ..*shape
    })
}

/// Rows `rows` of one image `(H, W, C)` rearranged to `(Y, X, dy, dx, C)`; `deep` is [`unit_stride`] of
/// `shape`.
pub(crate) fn rearrange(
    z: &mut [f32],
    x: &[f32],
    rows: Range<usize>,
    shape: &ConvShape,
    deep: &ConvShape,
) {
    let run = shape.stride * shape.in_c;
    for (row, z) in rows.zip(z.chunks_exact_mut(deep.in_w * deep.in_c)) {
        for dy in 0..shape.stride {
            let h = (row * shape.stride + dy).checked_sub(shape.pad).filter(|&h| h < shape.in_h);
            let x =
                h.map_or(&[][..], |h| &x[h * shape.in_w * shape.in_c..][..shape.in_w * shape.in_c]);
            for (column, z) in z.chunks_exact_mut(deep.in_c).enumerate() {
                let z = &mut z[dy * run..(dy + 1) * run];
                // Where this run of pixels begins in the row of the image, which it may overhang.
                let first = column * run;
                let (left, begin) = match first.checked_sub(shape.pad * shape.in_c) {
                    Some(begin) => (0, begin),
                    None => ((shape.pad * shape.in_c - first).min(run), 0),
                };
                let len = (run - left).min(x.len().saturating_sub(begin));
                if len == run {
                    // A run is a dozen values: too short for a call that copies.
                    z.iter_mut().zip(&x[begin..]).for_each(|(z, x)| *z = *x);
                } else {
                    z.fill(0.0);
                    z[left..left + len].copy_from_slice(&x[begin.min(x.len())..][..len]);
                }
            }
        }
    }
}

/// `visit(place in the deep weights, place in the original's, run length)` for every run of weights
/// that both have. What the deep weights have besides is 0.
pub(crate) fn for_each_weight_run(
    shape: &ConvShape,
    deep: &ConvShape,
    mut visit: impl FnMut(usize, usize, usize),
) {
    let ConvShape { kernel, stride, in_c, out_c, .. } = *shape;
    for k in 0..out_c {
        for r in 0..kernel {
            for column in 0..deep.kernel {
                let taps = stride.min(kernel - (column * stride).min(kernel));
                let tap = (r / stride) * deep.kernel + column;
                let to = (k * deep.kernel * deep.kernel + tap) * deep.in_c;
                let to = to + (r % stride) * stride * in_c;
                let from = ((k * kernel + r) * kernel + column * stride) * in_c;
                visit(to, from, taps * in_c);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tap_of_the_deep_convolution_reads_what_the_strided_one_reads() {
        for (in_h, in_w, kernel, stride, pad, out) in
            [(35, 31, 11, 4, 2, 7), (32, 34, 11, 4, 0, 6), (9, 8, 3, 2, 1, 4), (5, 8, 2, 3, 1, 2)]
        {
            let (in_c, out_c, batch, groups) = (3, 2, 1, 1);
            let (out_h, out_w) = (out, out);
            let shape = ConvShape {
                batch,
                in_h,
                in_w,
                in_c,
                out_h,
                out_w,
                out_c,
                kernel,
                stride,
                pad,
                groups,
            };
            let deep = unit_stride(&shape).expect("one group");
            let x: Vec<f32> = (1..=shape.input_len()).map(|i| i as f32).collect();
            let mut z = vec![f32::NAN; deep.input_len()];
            rearrange(&mut z, &x, 0..deep.in_h, &shape, &deep);
            let mut runs = 0;
            for_each_weight_run(&shape, &deep, |to, from, len| {
                runs += len;
                for i in 0..len {
                    let (tap, c) = ((from + i) / in_c % (kernel * kernel), (from + i) % in_c);
                    let (r, s) = (tap / kernel, tap % kernel);
                    let deep_tap = (to + i) / deep.in_c % (deep.kernel * deep.kernel);
                    let channel = (to + i) % deep.in_c;
                    for (p, q) in (0..out * out).map(|i| (i / out, i % out)) {
                        let (y, x_) = (p + deep_tap / deep.kernel, q + deep_tap % deep.kernel);
                        let found = z[(y * deep.in_w + x_) * deep.in_c + channel];
                        let at = shape.tap(p, r, in_h).zip(shape.tap(q, s, in_w));
                        let expected = at.map_or(0.0, |(h, w)| x[(h * in_w + w) * in_c + c]);
                        assert_eq!(found, expected, "{shape:?} at {p} {q}, tap {r} {s}");
                    }
                }
            });
            assert_eq!(runs, shape.weights_len(), "every weight has its place");
        }
    }
}
