//! Images, which cross as bytes and are resized and normalised on the device: `kernels/images.cu`.

use alexnet_ops::{ConvShape, Grid, Levels, Normalisation, Picture};

use crate::driver::{EIGHT, Gpu, Launch, PIECE, RealsMut, View, room_of};
use crate::floats::Floats;
use crate::scratch::{Room, Scratch};
use crate::{Engine, direct};

/// Words that the kernels are told of a picture: `struct Picture` of `images.cu`.
const WORDS: usize = 32;
/// Rows that a thread of `picture_widths` takes together: `PICTURE_ROWS` of `images.cu`.
pub(crate) const PICTURE_ROWS: usize = 4;

/// What was brought last, and the memory that is needed for it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Brought {
    pictures: usize,
    side: usize,
    /// Bytes of all cuts.
    levels: usize,
    /// Bytes of all rows, resized in their width alone.
    rows: usize,
    /// Words of all filters.
    filters: usize,
    /// Rows of the highest cut.
    height: usize,
    /// How many are their windows as they are.
    unresized: usize,
}

impl Brought {
    /// Takes one more picture, of which the kernels are told `words`.
    fn add(&mut self, picture: &Picture, words: &mut Vec<u32>) {
        let [columns, rows] = picture.cut(self.side);
        let grids = [picture.across, picture.down].map(|axis| axis.grid(self.side));
        self.unresized += usize::from(grids.iter().all(Grid::is_of_pixels));
        for grid in grids {
            for real in [grid.start, grid.scale, grid.support] {
                let bits = real.to_bits();
                words.extend([bits as u32, (bits >> 32) as u32]);
            }
            words.extend([grid.taps, grid.first_max, grid.seen().start, self.filters].map(word));
            self.filters += self.side * (1 + grid.taps);
        }
        let Normalisation { mean, scale } = picture.normalise;
        words.extend([mean, scale].as_flattened().iter().map(|figure| figure.to_bits()));
        let (flip, unused) = (usize::from(picture.flip), 0);
        let places = [self.levels / PIECE, self.rows / PIECE];
        words.extend(places.map(word));
        words.extend([columns.len(), rows.len(), flip, unused].map(word));
        self.levels += room_of(columns.len() * rows.len() * 3);
        self.rows += room_of(self.side * rows.len() * 3);
        self.height = self.height.max(rows.len());
    }
}

fn word(number: usize) -> u32 {
    u32::try_from(number).expect("images of a batch are less than 64 GiB")
}

/// Runs of eight that a row of so many numbers lies in at most, wherever it begins among other such rows.
fn runs_of(row: usize) -> usize {
    if row.is_multiple_of(EIGHT) { row / EIGHT } else { (row + 2 * (EIGHT - 1)) / EIGHT }
}

/// Begins to bring images, beside what is being computed; gives their number.
pub(crate) fn bring(engine: &mut Engine, levels: Levels<'_>) -> u64 {
    let (pictures, side) = (levels.pictures.len(), levels.side);
    let mut brought = Brought { pictures, side, ..Brought::default() };
    let mut words = Vec::with_capacity(pictures * WORDS);
    let mut cuts = Vec::with_capacity(pictures);
    for (picture, cut) in levels.cuts() {
        brought.add(picture, &mut words);
        cuts.push(cut);
    }
    engine.brought = brought;
    engine.crossing.bring(&engine.gpu, &cuts, &words);
    engine.crossing.number()
}

/// Makes numbers of what was brought last, as their reader wants them.
pub(crate) fn make(engine: &mut Engine, dst: &mut Floats, reader: Option<&ConvShape>) {
    let blocks = reader.and_then(|shape| direct::input_blocks(engine, shape));
    let Engine { crossing, gpu, scratch, brought, bf16, .. } = engine;
    let Brought { pictures, side, levels, unresized, .. } = *brought;
    let len = pictures * side * side * 3;
    if len == 0 {
        return;
    }
    let came = crossing.arrived(gpu, levels, pictures * WORDS);
    let Scratch { pictures: room, filters, rows, .. } = scratch;
    match blocks {
        None => make_plain(gpu, [filters, rows], dst.values_mut(len), came, brought),
        Some(blocks) if unresized == pictures && blocks.are_of_lines() => {
            blocks.pictures(gpu, dst.blocks_mut(&blocks, pictures), came);
        }
        Some(blocks) => {
            let mut plain = room.reals(gpu, len, *bf16);
            make_plain(gpu, [filters, rows], plain.again(), came, brought);
            blocks.input(gpu, dst.blocks_mut(&blocks, pictures), plain.into_read());
        }
    }
    crossing.used(gpu);
}

/// The same, (N, side, side, 3), from levels and words.
fn make_plain(
    gpu: &Gpu,
    [filters, rows]: [&mut Room; 2],
    out: RealsMut<'_>,
    (levels, words): (View<'_, u8>, View<'_, u32>),
    brought: &Brought,
) {
    let side = brought.side;
    let (out, width, runs) = (out.into(), word(side).into(), runs_of(side * 3));
    let (by_eights, each_by_eights) = Launch::threads_each(brought.pictures, side * runs);
    let sizes = [width, word(runs).into(), each_by_eights.into()];
    if brought.unresized == brought.pictures {
        let arguments = [&[out, levels.into(), words.into()][..], &sizes].concat();
        return gpu.launch("picture_levels", by_eights, &arguments);
    }
    let mut filters = filters.take_varying::<u32>(gpu, brought.filters);
    let mut rows = rows.take_varying::<u8>(gpu, brought.rows);
    let places = brought.pictures * 2 * side;
    let count = (places as u64).into();
    let arguments = [filters.again().into(), words.into(), width, count];
    gpu.launch("picture_filters", Launch::threads(places), &arguments);
    let filters = filters.read().into();
    let threads = brought.height.div_ceil(PICTURE_ROWS) * side;
    let (launch, each) = Launch::threads_each(brought.pictures, threads);
    let narrow = rows.again().into();
    let arguments = [narrow, levels.into(), filters, words.into(), width, each.into()];
    gpu.launch("picture_widths", launch, &arguments);
    let arguments = [&[out, rows.read().into(), filters, words.into()][..], &sizes].concat();
    gpu.launch("picture_heights", by_eights, &arguments);
}
