//! Images, which cross as bytes and become numbers on the device: `kernels/images.cu`.

use alexnet_ops::Normalisation;

use crate::Engine;
use crate::driver::Launch;
use crate::floats::Floats;

/// Means and factors of an image's three colours.
const FIGURES: usize = 6;

/// Begins to bring images, beside what is being computed; gives their number.
pub(crate) fn bring(engine: &mut Engine, levels: &[u8], normalise: &[Normalisation]) -> u64 {
    let figures = normalise.iter().flat_map(|image| [image.mean, image.scale]).flatten();
    engine.crossing.bring(&engine.gpu, levels, &figures.collect::<Vec<f32>>());
    engine.crossing.number()
}

/// Makes numbers of what was brought last: of so many levels of so many images.
pub(crate) fn normalise(engine: &Engine, dst: &mut Floats, len: usize, images: usize) {
    if len == 0 {
        return;
    }
    let Engine { crossing, gpu, .. } = engine;
    let (levels, figures) = crossing.arrived(gpu, len, images * FIGURES);
    let sizes = [len / images, len].map(|size| (size as u64).into());
    let arguments = [dst.values_mut(len).into(), levels.into(), figures.into(), sizes[0], sizes[1]];
    gpu.launch("normalise_images", Launch::eights(len), &arguments);
    crossing.used(gpu);
}
