//! Sums and maxima over many values, [`GROUP`] by [`GROUP`] until one is left: `kernels/reduce.cu`.

use crate::driver::{Element, Gpu, Launch, View, ViewMut};
use crate::scratch::Room;

/// Values that one thread takes together. So few that there are threads enough, so many that three or
/// four rounds do for the longest arrays.
pub(crate) const GROUP: usize = 64;

/// `sums (columns)` of `values (rows, columns)`.
pub(crate) fn sum_rows(
    gpu: &Gpu,
    rooms: &mut [Room; 2],
    sums: ViewMut<'_, f32>,
    values: View<'_, f32>,
    [rows, columns]: [usize; 2],
) {
    let groups = rows.div_ceil(GROUP);
    if groups == 1 {
        return sum_groups(gpu, sums, values, [rows, columns]);
    }
    let first = rooms[0].take(gpu, groups * columns);
    sum_groups(gpu, first, values, [rows, columns]);
    finish_rows(gpu, rooms, sums, [groups, columns]);
}

/// The same of values that stand in the first room.
pub(crate) fn finish_rows(
    gpu: &Gpu,
    rooms: &mut [Room; 2],
    mut sums: ViewMut<'_, f32>,
    [mut rows, columns]: [usize; 2],
) {
    loop {
        let [from, to] = &mut *rooms;
        let values = from.take(gpu, rows * columns).into_read();
        let groups = rows.div_ceil(GROUP);
        if groups == 1 {
            return sum_groups(gpu, sums.again(), values, [rows, columns]);
        }
        sum_groups(gpu, to.take(gpu, groups * columns), values, [rows, columns]);
        rooms.swap(0, 1);
        rows = groups;
    }
}

/// One round: `sums (⌈rows / GROUP⌉, columns)`.
fn sum_groups(
    gpu: &Gpu,
    sums: ViewMut<'_, f32>,
    values: View<'_, f32>,
    [rows, columns]: [usize; 2],
) {
    assert!(values.len() >= rows * columns && sums.len() >= rows.div_ceil(GROUP) * columns);
    let launch = Launch::threads(rows.div_ceil(GROUP) * columns);
    let sizes = [(rows as u64).into(), word(columns).into(), word(GROUP).into()];
    let [rows, columns, group] = sizes;
    gpu.launch("sum_rows", launch, &[sums.into(), values.into(), rows, columns, group]);
}

/// The largest magnitude; NaN if there is one, 0 of nothing.
pub(crate) fn largest(gpu: &Gpu, rooms: &mut [Room; 2], values: View<'_, f32>) -> f32 {
    let mut found = [0.0_f32];
    fold(gpu, rooms, &mut found, ["largest", "largest"], values);
    found[0]
}

/// Σ value², in `f64`.
pub(crate) fn sum_of_squares(gpu: &Gpu, rooms: &mut [Room; 2], values: View<'_, f32>) -> f64 {
    let mut found = [0.0_f64];
    fold(gpu, rooms, &mut found, ["sum_squares", "sum_doubles"], values);
    found[0]
}

/// One value of many: by the first kernel from `values`, then by the second from what it left.
fn fold<T: Element>(
    gpu: &Gpu,
    rooms: &mut [Room; 2],
    found: &mut [T; 1],
    [first, then]: [&str; 2],
    values: View<'_, f32>,
) {
    let mut len = values.len();
    if len == 0 {
        return;
    }
    let round = |kernel, to: ViewMut<'_, T>, from: crate::driver::Argument<'_>, len: usize| {
        let threads = len.div_ceil(GROUP);
        let sizes = [(len as u64).into(), (threads as u64).into()];
        gpu.launch(kernel, Launch::threads(threads), &[to.into(), from, sizes[0], sizes[1]]);
        threads
    };
    let threads = len.div_ceil(GROUP);
    len = round(first, rooms[0].take(gpu, threads), values.into(), len);
    while len > 1 {
        let [from, to] = &mut *rooms;
        let values = from.take::<T>(gpu, len).into_read();
        len = round(then, to.take(gpu, len.div_ceil(GROUP)), values.into(), len);
        rooms.swap(0, 1);
    }
    gpu.download(found, rooms[0].take::<T>(gpu, 1).into_read());
}

/// A size as kernels take it.
pub(crate) fn word(value: usize) -> u32 {
    u32::try_from(value).expect("a size that a kernel can count to")
}
