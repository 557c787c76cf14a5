//! Sums and maxima over many values, round by round until one is left: `kernels/reduce.cu`.

use crate::Engine;
use crate::driver::{Argument, BLOCK, EIGHT, Gpu, Lane, Launch, Reals, ViewMut};
use crate::floats::Floats;
use crate::scratch::{Room, Scratch};

/// Runs of columns that threads of a block stand abreast at the most: 512 bytes of bf16; and where one
/// block has all rows, so that there are many blocks even so: 128 bytes of `f32`.
const LANES_MAX: usize = 32;
const LANES_ALONE: usize = 4;

/// Rows that each of a block's threads takes where blocks share them, and at most where none does.
const ROWS_EACH: usize = 16;
const ROWS_ALONE: usize = 32;

/// Rows that each takes where nothing is summed up: at least as many as it has on their way at a time,
/// `AT_ONCE` of the kernels, and more where there are blocks enough for every processor all the same.
const ROWS_AT_ONCE: usize = 4;
const BLOCKS_ENOUGH: usize = 1 << 10;

/// Squares of a pooling that each of them takes: four inputs by four windows make up for many rows.
const SQUARES_EACH: usize = 4;

/// Numbers that one block looks through for the largest.
const PIECE: usize = 1 << 12;

/// How blocks share what one round sums up: `struct Columns` of the kernels.
pub(crate) struct Round {
    columns: usize,
    /// Rows of a block.
    group: usize,
    width: usize,
    lanes: usize,
    /// What is left of the rows.
    pub(crate) groups: usize,
}

impl Round {
    pub(crate) fn of(sizes @ [rows, columns]: [usize; 2]) -> Self {
        let lanes = lanes(columns, LANES_ALONE);
        if rows <= BLOCK / lanes * ROWS_ALONE {
            return Self::by(sizes, lanes, rows);
        }
        Self::shared(sizes, ROWS_EACH)
    }

    /// Over squares of a pooling.
    pub(crate) fn of_squares(sizes: [usize; 2]) -> Self {
        Self::shared(sizes, SQUARES_EACH)
    }

    /// Of rows from which nothing is summed up.
    pub(crate) fn of_each(sizes @ [rows, columns]: [usize; 2]) -> Self {
        let runs = rows * (columns / width(columns));
        Self::shared(sizes, (runs / (BLOCK * BLOCKS_ENOUGH)).clamp(ROWS_AT_ONCE, ROWS_EACH))
    }

    /// With so many rows a thread.
    fn shared(sizes @ [rows, columns]: [usize; 2], each: usize) -> Self {
        let lanes = lanes(columns, LANES_MAX);
        Self::by(sizes, lanes, rows.min(BLOCK / lanes * each))
    }

    fn by([rows, columns]: [usize; 2], lanes: usize, group: usize) -> Self {
        Self { columns, group, width: width(columns), lanes, groups: rows.div_ceil(group) }
    }

    pub(crate) fn numbers(&self) -> [u32; 4] {
        [self.columns, self.group, self.width, self.lanes].map(word)
    }

    pub(crate) fn blocks(&self) -> usize {
        self.groups * (self.columns / self.width).div_ceil(self.lanes)
    }

    /// Blocks that find so many sums a column.
    pub(crate) fn launch(&self, sums: usize) -> Launch {
        Launch::blocks(self.blocks()).sharing(|threads| threads * EIGHT * sums)
    }
}

/// Runs of columns that stand abreast: at most so many, and as many in every block.
fn lanes(columns: usize, most: usize) -> usize {
    let runs = columns / width(columns);
    runs.div_ceil(runs.div_ceil(most))
}

/// Of which array the sums down columns are that the kernel that wrote it began: for whoever wants them, if
/// nothing wrote it since.
pub(crate) struct Begun {
    stamp: u64,
    sizes: [usize; 2],
    /// What is left of the rows.
    groups: usize,
}

impl Begun {
    pub(crate) fn of(values: &Floats, sizes: [usize; 2], groups: usize) -> Self {
        Self { stamp: values.stamp(), sizes, groups }
    }

    fn is_of(&self, values: &Floats, sizes: [usize; 2]) -> bool {
        (self.stamp, self.sizes) == (values.stamp(), sizes)
    }
}

/// Calls a kernel that writes `values (rows, columns)`, which `others` follow, and begins the sums down their
/// columns.
pub(crate) fn begin_sums(
    engine: &mut Engine,
    kernel: &str,
    values: &mut Floats,
    others: &[Argument<'_>],
    sizes @ [rows, columns]: [usize; 2],
) {
    let Engine { gpu, scratch, .. } = engine;
    let round = Round::of(sizes);
    let sums: ViewMut<'_, f32> = scratch.begun.take(gpu, round.groups * columns);
    let arrays = [sums.into(), values.values_mut(rows * columns).into()];
    let (all, numbers) = ((rows as u64).into(), round.numbers());
    let arguments = [&arrays, others, &[all, (&numbers).into()]].concat();
    gpu.launch(kernel, round.launch(1), &arguments);
    scratch.begun_of = Some(Begun::of(values, sizes, round.groups));
}

/// `sums (columns)` of `values (rows, columns)`, from where they were begun or from the beginning.
pub(crate) fn sum_columns(
    engine: &mut Engine,
    sums: ViewMut<'_, f32>,
    values: &Floats,
    sizes @ [rows, columns]: [usize; 2],
) {
    let Engine { gpu, scratch, .. } = engine;
    let Scratch { sums: rooms, bias_sums, begun, begun_of, .. } = scratch;
    let rooms = if gpu.lane() == Lane::Main { rooms } else { bias_sums };
    let (terms, rows) = match begun_of.as_ref().filter(|begun| begun.is_of(values, sizes)) {
        Some(Begun { groups, .. }) => {
            (Reals::F32(begun.take(gpu, groups * columns).into_read()), *groups)
        }
        None => (values.values(rows * columns), rows),
    };
    sum_rows(gpu, rooms, sums, terms, [rows, columns]);
}

/// The gradient of a bias, that of its outputs being `d_y (rows, columns)`, beside what follows.
pub(crate) fn bias_gradient(
    engine: &mut Engine,
    d_bias: &mut Floats,
    d_y: &Floats,
    sizes @ [_, columns]: [usize; 2],
) {
    engine.beside(Lane::Aside, |engine| {
        sum_columns(engine, d_bias.first_mut(columns), d_y, sizes);
    });
}

/// `sums (columns)` of `values (rows, columns)`.
pub(crate) fn sum_rows(
    gpu: &Gpu,
    rooms: &mut [Room; 2],
    sums: ViewMut<'_, f32>,
    values: Reals<'_>,
    [rows, columns]: [usize; 2],
) {
    let round = Round::of([rows, columns]);
    if round.groups == 1 {
        return sum_groups(gpu, sums, values, rows, &round);
    }
    let first = rooms[0].take(gpu, round.groups * columns);
    sum_groups(gpu, first, values, rows, &round);
    finish_rows(gpu, rooms, sums, [round.groups, columns]);
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
        let round = Round::of([rows, columns]);
        if round.groups == 1 {
            return sum_groups(gpu, sums.again(), terms, rows, &round);
        }
        sum_groups(gpu, to.take(gpu, round.groups * columns), terms, rows, &round);
        rooms.swap(0, 1);
        rows = round.groups;
    }
}

/// `sums (groups, columns)` of one round.
fn sum_groups(gpu: &Gpu, sums: ViewMut<'_, f32>, values: Reals<'_>, rows: usize, round: &Round) {
    assert!(values.len() >= rows * round.columns && sums.len() >= round.groups * round.columns);
    let (kernel, numbers) = (named("sum_rows", "sum_value_rows", values), round.numbers());
    let arguments = [sums.into(), values.into(), (rows as u64).into(), (&numbers).into()];
    gpu.launch(kernel, round.launch(1), &arguments);
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
pub(crate) fn largest(engine: &mut Engine, found: ViewMut<'_, f32>, arrays: &[Reals<'_>]) {
    let Engine { gpu, scratch, crossing, .. } = engine;
    // A graph would take whichever table is there when it is launched.
    if gpu.gives_up() {
        return;
    }
    let touched: Vec<_> = arrays.iter().map(Reals::touch).collect();
    gpu.touches(&touched);
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
        crossing.send(gpu, there.again(), &table);
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

/// A size as kernels take it.
pub(crate) fn word(value: usize) -> u32 {
    u32::try_from(value).expect("a size that a kernel can count to")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_share_out_whole_runs_of_columns_and_end_with_one_block_for_each_of_them() {
        for (rows, columns, expected) in [
            // conv1 and fc6 of `torchvision` at batch 128.
            (387_200, 64, [[64, 512, 8, 8], [64, 757, 8, 4]].as_slice()),
            (128, 4096, &[[4096, 128, 8, 4]]),
            // 48 runs are two times 24, and classes may be odd.
            (21_632, 384, &[[384, 160, 8, 24], [384, 136, 8, 4]]),
            (3, 7, &[[7, 3, 1, 4]]),
        ] {
            let (mut left, mut rounds) = (rows, Vec::new());
            while rounds.is_empty() || left > 1 {
                let round = Round::of([left, columns]);
                rounds.push(round.numbers());
                left = round.groups;
            }
            assert_eq!(rounds, expected, "{rows} x {columns}");
        }
    }

    #[test]
    fn where_nothing_is_summed_up_few_rows_are_shared_by_many_blocks() {
        // A layer of one image, of 32, and of a batch of 1024.
        for (rows, columns, each, blocks) in
            [(729, 192, 4, 19), (23_328, 192, 4, 584), (746_496, 192, 16, 4_666)]
        {
            let round = Round::of_each([rows, columns]);
            let deep = BLOCK / round.lanes;
            assert_eq!((round.group, round.blocks()), (deep * each, blocks), "{rows} rows");
        }
    }
}
