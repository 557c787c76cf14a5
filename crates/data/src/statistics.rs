//! What the training images' colours are like: means, deviations, principal components.
//!
//! Sums of whole numbers, so that the result does not depend on the order of the images.

use crate::error::DataError;
use crate::image::Image;
use crate::parallel::{Progress, Tell, gather};
use crate::preprocess::{Fit, Preprocess};
use crate::resize::resize;
use crate::sample::Sample;

/// Statistics of images brought to size, over the region that crops are taken from; in grey levels.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// How many images were read.
    pub images: u64,
    /// How many could not be.
    pub unreadable: u64,
    /// Means of red, green and blue.
    pub mean: [f32; 3],
    /// Their deviations.
    pub std: [f32; 3],
    /// Principal components of the colours of all pixels, the largest first: unit vectors times
    /// deviations, as [`crate::ColourNoise::components`] has them.
    pub components: [[f32; 3]; 3],
    /// The mean of every pixel, (resize, resize, 3); none of regions that are no squares.
    pub mean_image: Option<Vec<f32>>,
}

/// Statistics of `samples` as `preprocess` brings them to size.
///
/// # Errors
/// Unusable settings, no readable image, a machine that cannot read, or a request to stop.
pub fn statistics(
    samples: &[Sample],
    preprocess: &Preprocess,
    workers: usize,
    progress: Progress,
) -> Result<Statistics, DataError> {
    preprocess.check()?;
    let side = (preprocess.fit != Fit::ShorterSide).then_some(preprocess.resize as usize);
    let empty = || Sums::new(side.unwrap_or(0));
    let add = |sums: &mut Sums, _: usize, sample: &Sample, tell: Tell| {
        let image = match sample.content.read_image() {
            Err(error) if error.is_of_the_machine() => return Err(error),
            read => read.ok(),
        };
        match image.and_then(|image| region(preprocess, &image)) {
            Some(pixels) => sums.add(&pixels),
            None => sums.unreadable += 1,
        }
        tell(1);
        Ok(())
    };
    let parts = gather(samples, workers, empty, add, progress)?;
    let mut sums = empty();
    parts.iter().for_each(|part| sums.merge(part));
    if sums.images == 0 {
        return Err(DataError::NothingReadable { images: samples.len() });
    }
    Ok(sums.statistics(side.is_some()))
}

/// The whole region that crops are taken from, as bytes, unless it would be too large.
fn region(preprocess: &Preprocess, image: &Image) -> Option<Vec<u8>> {
    let (window, size) = preprocess.whole_region(image)?;
    Some(resize(image, window, size).into_rgb())
}

/// Sums over pixels. 64 bits hold the squares of 10^14 pixels.
#[derive(Clone)]
struct Sums {
    images: u64,
    unreadable: u64,
    pixels: u64,
    colours: [u64; 3],
    products: [[u64; 3]; 3],
    /// Of every pixel and colour, where all regions are squares of one size.
    places: Vec<u64>,
}

impl Sums {
    fn new(side: usize) -> Self {
        let (colours, products) = ([0; 3], [[0; 3]; 3]);
        let places = vec![0; side * side * 3];
        Self { images: 0, unreadable: 0, pixels: 0, colours, products, places }
    }

    fn add(&mut self, pixels: &[u8]) {
        self.images += 1;
        self.places.iter_mut().zip(pixels).for_each(|(sum, &level)| *sum += u64::from(level));
        let (pixels, _) = pixels.as_chunks::<3>();
        self.pixels += pixels.len() as u64;
        for pixel in pixels {
            let pixel = pixel.map(u64::from);
            for a in 0..3 {
                self.colours[a] += pixel[a];
                (0..3).for_each(|b| self.products[a][b] += pixel[a] * pixel[b]);
            }
        }
    }

    fn merge(&mut self, other: &Sums) {
        self.images += other.images;
        self.unreadable += other.unreadable;
        self.pixels += other.pixels;
        self.places.iter_mut().zip(&other.places).for_each(|(sum, part)| *sum += part);
        for a in 0..3 {
            self.colours[a] += other.colours[a];
            (0..3).for_each(|b| self.products[a][b] += other.products[a][b]);
        }
    }

    fn statistics(&self, has_mean_image: bool) -> Statistics {
        let count = self.pixels as f64;
        let mean = self.colours.map(|sum| sum as f64 / count);
        let covariance: [[f64; 3]; 3] = std::array::from_fn(|a| {
            std::array::from_fn(|b| self.products[a][b] as f64 / count - mean[a] * mean[b])
        });
        let std = std::array::from_fn(|a| covariance[a][a].max(0.0).sqrt() as f32);
        let place = |&sum: &u64| (sum as f64 / self.images as f64) as f32;
        Statistics {
            images: self.images,
            unreadable: self.unreadable,
            mean: mean.map(|mean| mean as f32),
            std,
            components: principal_components(covariance),
            mean_image: has_mean_image.then(|| self.places.iter().map(place).collect()),
        }
    }
}

/// Eigenvectors times the roots of their eigenvalues, the largest first, by Jacobi's rotations.
fn principal_components(mut matrix: [[f64; 3]; 3]) -> [[f32; 3]; 3] {
    /// More than enough: the off-diagonal shrinks quadratically.
    const SWEEPS: usize = 32;
    let mut vectors = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    for _ in 0..SWEEPS {
        for (p, q) in [(0, 1), (0, 2), (1, 2)] {
            rotate(&mut matrix, &mut vectors, p, q);
        }
    }
    let mut order = [0, 1, 2];
    order.sort_by(|&a, &b| matrix[b][b].total_cmp(&matrix[a][a]));
    order.map(|i| {
        let deviation = matrix[i][i].max(0.0).sqrt();
        // A component's sign is arbitrary: its largest part is positive.
        let parts: [f64; 3] = std::array::from_fn(|row| vectors[row][i]);
        let largest =
            parts.iter().copied().fold(0.0, |a: f64, b| if b.abs() > a.abs() { b } else { a });
        parts.map(|part| (part * deviation * largest.signum()) as f32)
    })
}

/// One rotation that makes `matrix[p][q]` zero; `vectors` turns with it.
fn rotate(matrix: &mut [[f64; 3]; 3], vectors: &mut [[f64; 3]; 3], p: usize, q: usize) {
    if matrix[p][q] == 0.0 {
        return;
    }
    let theta = (matrix[q][q] - matrix[p][p]) / (2.0 * matrix[p][q]);
    let tan = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
    let cos = 1.0 / (tan * tan + 1.0).sqrt();
    let sin = tan * cos;
    let turn = |a: f64, b: f64| (cos * a - sin * b, sin * a + cos * b);
    for row in matrix.iter_mut() {
        (row[p], row[q]) = turn(row[p], row[q]);
    }
    for column in 0..3 {
        let (a, b) = turn(matrix[p][column], matrix[q][column]);
        (matrix[p][column], matrix[q][column]) = (a, b);
    }
    for row in vectors.iter_mut() {
        (row[p], row[q]) = turn(row[p], row[q]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A covariance made from known components gives them back.
    #[test]
    fn principal_components_are_those_the_covariance_was_made_of() {
        let third = 1.0 / 3.0f64;
        let unit = [
            [2.0 * third, 2.0 * third, third],
            [-2.0 * third, third, 2.0 * third],
            [third, -2.0 * third, 2.0 * third],
        ];
        let deviations = [120.0, 37.0, 5.0];
        let covariance = std::array::from_fn(|a| {
            std::array::from_fn(|b| {
                (0..3).map(|i| deviations[i] * deviations[i] * unit[i][a] * unit[i][b]).sum()
            })
        });
        for (i, component) in principal_components(covariance).iter().enumerate() {
            let expected = unit[i].map(|part| part * deviations[i]);
            let dot: f64 = (0..3).map(|a| expected[a] * f64::from(component[a])).sum();
            let square = deviations[i] * deviations[i];
            assert!((dot.abs() - square).abs() < 1e-4 * square, "{component:?}, {expected:?}");
        }
    }
}
