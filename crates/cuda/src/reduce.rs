//! Sums and maxima over many values, [`GROUP`] by [`GROUP`] until one is left: `kernels/reduce.cu`.

use crate::driver::{Argument, EIGHT, Gpu, Launch, Reals, View, ViewMut};
use crate::scratch::{Room, Scratch};

/// Values that one thread takes together. So few that there are threads enough, so many that three or
/// four rounds do for the longest arrays.
pub(crate) const GROUP: usize = 64;

/// Numbers that one block looks through for the largest.
const PIECE: usize = 1 << 14;

/// `sums (columns)` of `values (rows, columns)`.
pub(crate) fn sum_rows(
    gpu: &Gpu,
    rooms: &mut [Room; 2],
    sums: ViewMut<'_, f32>,
    values: Reals<'_>,
    [rows, columns]: [usize; 2],
) {
    let groups = rows.div_ceil(GROUP);
    if groups <= 1 {
        return sum_groups(gpu, sums, values, [rows, columns]);
    }
    let first = rooms[0].take(gpu, groups * columns);
    sum_groups(gpu, first, values, [rows, columns]);
    finish_rows(gpu, rooms, sums, [groups, columns]);
}

/// The same of sums that stand in the first room.
pub(crate) fn finish_rows(
    gpu: &Gpu,
    rooms: &mut [Room; 2],
    mut sums: ViewMut<'_, f32>,
    [mut rows, columns]: [usize; 2],
) {
    loop {
        let [from, to] = &mut *rooms;
        let terms = Reals::F32(from.take(gpu, rows * columns).into_read());
        let groups = rows.div_ceil(GROUP);
        if groups <= 1 {
            return sum_groups(gpu, sums.again(), terms, [rows, columns]);
        }
        sum_groups(gpu, to.take(gpu, groups * columns), terms, [rows, columns]);
        rooms.swap(0, 1);
        rows = groups;
    }
}

/// One round: `sums (⌈rows / GROUP⌉, columns)`.
fn sum_groups(gpu: &Gpu, sums: ViewMut<'_, f32>, values: Reals<'_>, [rows, columns]: [usize; 2]) {
    let groups = rows.div_ceil(GROUP);
    assert!(values.len() >= rows * columns && sums.len() >= groups * columns);
    let (kernel, width) = (named("sum_rows", "sum_value_rows", values), width(columns));
    let launch = Launch::threads(groups * columns / width);
    let sizes = [columns, GROUP, width].map(|size| word(size).into());
    let rows = (rows as u64).into();
    let arguments = [sums.into(), values.into(), rows, sizes[0], sizes[1], sizes[2]];
    gpu.launch(kernel, launch, &arguments);
}

/// Channels that one thread takes together, where there are so many.
pub(crate) fn width(channels: usize) -> usize {
    if channels.is_multiple_of(EIGHT) { EIGHT } else { 1 }
}

/// The kernel for numbers in f32, or the one for values where these are not.
fn named(wide: &'static str, value: &'static str, values: Reals<'_>) -> &'static str {
    match values {
        Reals::F32(_) => wide,
        Reals::Bf16(_) => value,
    }
}

/// The largest magnitude of each array, in turn; NaN if there is one, 0 of nothing.
pub(crate) fn largest(
    gpu: &Gpu,
    scratch: &mut Scratch,
    found: ViewMut<'_, f32>,
    arrays: &[Reals<'_>],
) {
    let (mut table, mut blocks) = (Vec::with_capacity(4 * arrays.len()), 0);
    for array in arrays {
        table.extend(array.entry());
        table.push(blocks as u64);
        blocks += array.len().div_ceil(PIECE).max(1);
    }
    let Scratch { table: room, table_is, sums, .. } = scratch;
    let mut there: ViewMut<'_, u64> = room.take(gpu, table.len());
    // Every step of training looks at the same arrays.
    if *table_is != table {
        gpu.upload(there.again(), &table);
        *table_is = table;
    }
    let mut maxima: ViewMut<'_, f32> = sums[0].take(gpu, blocks);
    let count = word(arrays.len()).into();
    let by = |blocks: usize| Launch::blocks(blocks).sharing(|threads| threads);
    let arguments = [maxima.again().into(), there.read().into(), count, word(PIECE).into()];
    gpu.launch("largest_of_pieces", by(blocks), &arguments);
    let all = word(blocks).into();
    let arguments = [found.into(), maxima.read().into(), there.read().into(), count, all];
    gpu.launch("largest_of_arrays", by(arrays.len()), &arguments);
}

/// Σ value², in `f64`.
pub(crate) fn sum_of_squares(gpu: &Gpu, rooms: &mut [Room; 2], values: View<'_, f32>) -> f64 {
    let mut len = values.len();
    if len == 0 {
        return 0.0;
    }
    let round = |kernel, to: ViewMut<'_, f64>, from: Argument<'_>, len: usize| {
        let threads = len.div_ceil(GROUP);
        let sizes = [(len as u64).into(), (threads as u64).into()];
        gpu.launch(kernel, Launch::threads(threads), &[to.into(), from, sizes[0], sizes[1]]);
        threads
    };
    let threads = len.div_ceil(GROUP);
    len = round("sum_squares", rooms[0].take(gpu, threads), values.into(), len);
    while len > 1 {
        let [from, to] = &mut *rooms;
        let sums = from.take::<f64>(gpu, len).into_read();
        len = round("sum_doubles", to.take(gpu, len.div_ceil(GROUP)), sums.into(), len);
        rooms.swap(0, 1);
    }
    let mut found = [0.0];
    gpu.download(&mut found, rooms[0].take::<f64>(gpu, 1).into_read());
    found[0]
}

/// A size as kernels take it.
pub(crate) fn word(value: usize) -> u32 {
    u32::try_from(value).expect("a size that a kernel can count to")
}
