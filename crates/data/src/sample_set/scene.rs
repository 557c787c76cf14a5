//! Scenes: a subject before a cluttered ground, under uneven light, through a noisy camera.

use std::array::from_fn;
use std::f32::consts::TAU;
use std::ops::Range;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::figure::{Figure, Outline, Paint, Point, Rgb, Texture, mix, smooth_step};
use crate::image::Image;

/// The two colours that classes are told apart by.
#[derive(Clone, Copy)]
pub(crate) enum Colour {
    Blue,
    Red,
}

/// What makes a class.
#[derive(Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) outline: Outline,
    pub(crate) texture: Texture,
    pub(crate) colour: Colour,
}

// How hard the problem is. With these a linear model on pixels finds little, and a small
// convolutional network nearly everything. Lengths are in shorter sides of the image.
const SUBJECT_RADIUS: Range<f32> = 0.20..0.28;
const SUBJECT_OFFSET: Range<f32> = -0.11..0.11;
/// In radians: up to 20 degrees.
const SUBJECT_ANGLE: Range<f32> = -0.35..0.35;
const SUBJECT_FREQUENCY: Range<f32> = 6.0..9.0;
/// Small plain patches of each of the two colours: the mean colour says nothing.
const COLOURED_PATCHES: usize = 2;
/// Small grey patches of each of the two textures: neither does a texture somewhere.
const TEXTURED_PATCHES: usize = 2;
const PATCH_RADIUS: Range<f32> = 0.04..0.11;
const PATCH_OFFSET: Range<f32> = -0.6..0.6;
const PATCH_SOFTNESS: Range<f32> = 0.01..0.05;
/// Edges of the subject, about a pixel wide.
const SUBJECT_SOFTNESS: f32 = 0.008;
/// How much brighter one side may be than the middle.
const LIGHT_SLOPE: Range<f32> = -0.5..0.5;
/// Standard deviation of the camera's noise, of 1.
const CAMERA_NOISE: Range<f32> = 0.005..0.035;
/// Values a side of the ground's coarsest clouds.
const CLOUD_LATTICE: usize = 8;

/// All that is seen, back to front.
pub(crate) struct Scene {
    ground: [Rgb; 2],
    clouds: [[f32; CLOUD_LATTICE]; CLOUD_LATTICE],
    figures: Vec<Figure>,
    /// Change of brightness per shorter side, to the right and down.
    light: Point,
    noise: f32,
}

impl Scene {
    /// Places the subject, and what distracts from it, at random.
    pub(crate) fn arrange(subject: Subject, random: &mut ChaCha8Rng) -> Scene {
        let mut figures = Vec::new();
        for _ in 0..COLOURED_PATCHES {
            for colour in [Colour::Blue, Colour::Red] {
                let base = tint(colour, random);
                figures.push(patch(paint(base, Texture::Plain, random), random));
            }
        }
        for _ in 0..TEXTURED_PATCHES {
            for texture in [Texture::Dots, Texture::Stripes] {
                let grey = hsv(random.random(), 0.15, random.random_range(0.4..0.9));
                figures.push(patch(paint(grey, texture, random), random));
            }
        }
        figures.shuffle(random);
        let base = tint(subject.colour, random);
        figures.push(Figure {
            outline: subject.outline,
            centre: from_fn(|_| random.random_range(SUBJECT_OFFSET)),
            radius: random.random_range(SUBJECT_RADIUS),
            angle: random.random_range(SUBJECT_ANGLE),
            softness: SUBJECT_SOFTNESS,
            paint: paint(base, subject.texture, random),
        });
        let muted = |random: &mut ChaCha8Rng| {
            let (saturation, value) =
                (random.random_range(0.05..0.35), random.random_range(0.25..0.85));
            hsv(random.random(), saturation, value)
        };
        Scene {
            ground: [muted(random), muted(random)],
            clouds: from_fn(|_| from_fn(|_| random.random())),
            figures,
            light: from_fn(|_| random.random_range(LIGHT_SLOPE)),
            noise: random.random_range(CAMERA_NOISE),
        }
    }

    /// The scene in `width` x `height` pixels.
    pub(crate) fn paint(&self, width: u32, height: u32, random: &mut ChaCha8Rng) -> Image {
        let side = width.min(height) as f32;
        let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
        for y in 0..height {
            for x in 0..width {
                let point = [
                    (x as f32 + 0.5 - width as f32 / 2.0) / side,
                    (y as f32 + 0.5 - height as f32 / 2.0) / side,
                ];
                for level in self.colour(point) {
                    let level = level + self.noise * gaussian(random);
                    rgb.push((level * 255.0).round() as u8);
                }
            }
        }
        let image = Image::new(width, height, rgb);
        image.expect("three bytes were pushed for each pixel, and sides are at least 1")
    }

    fn colour(&self, point: Point) -> Rgb {
        let cloud = 0.65 * self.cloud(point, 4.0) + 0.35 * self.cloud(point, 13.0);
        let ground = mix(self.ground[0], self.ground[1], smooth_step(0.25, 0.75, cloud));
        let seen = self.figures.iter().fold(ground, |behind, figure| figure.over(behind, point));
        let light = 1.0 + self.light[0] * point[0] + self.light[1] * point[1];
        seen.map(|level| level * light)
    }

    /// Value noise: random values on a lattice of `frequency` a side, smooth between, 0 to 1.
    fn cloud(&self, [x, y]: Point, frequency: f32) -> f32 {
        let (x, y) = (x * frequency, y * frequency);
        let (column, row) = (x.floor(), y.floor());
        let value = |row: f32, column: f32| {
            let wrap = |index: f32| (index as i32).rem_euclid(CLOUD_LATTICE as i32) as usize;
            self.clouds[wrap(row)][wrap(column)]
        };
        let along = smooth_step(0.0, 1.0, x - column);
        let [upper, lower] = [row, row + 1.0].map(|row| {
            let (left, right) = (value(row, column), value(row, column + 1.0));
            left + (right - left) * along
        });
        upper + (lower - upper) * smooth_step(0.0, 1.0, y - row)
    }
}

/// A small figure of any shape, anywhere.
fn patch(paint: Paint, random: &mut ChaCha8Rng) -> Figure {
    let outlines = [Outline::Circle, Outline::Cross, Outline::Triangle];
    Figure {
        outline: outlines[random.random_range(0..outlines.len())],
        centre: from_fn(|_| random.random_range(PATCH_OFFSET)),
        radius: random.random_range(PATCH_RADIUS),
        angle: random.random_range(0.0..TAU),
        softness: random.random_range(PATCH_SOFTNESS),
        paint,
    }
}

/// Ink, lighter or darker than `base`, in a texture at random angle, width and place.
fn paint(base: Rgb, texture: Texture, random: &mut ChaCha8Rng) -> Paint {
    let ink = if random.random() { mix(base, [1.0; 3], 0.55) } else { mix(base, [0.0; 3], 0.5) };
    Paint {
        base,
        ink,
        texture,
        angle: random.random_range(0.0..TAU),
        frequency: random.random_range(SUBJECT_FREQUENCY),
        phase: from_fn(|_| random.random()),
    }
}

/// A shade of one of the two colours.
fn tint(colour: Colour, random: &mut ChaCha8Rng) -> Rgb {
    let hue = match colour {
        Colour::Blue => random.random_range(0.54..0.68),
        Colour::Red => random.random_range(-0.04..0.04),
    };
    hsv(hue, random.random_range(0.6..0.95), random.random_range(0.55..0.95))
}

/// Hue in turns from red, saturation and value from 0 to 1.
fn hsv(hue: f32, saturation: f32, value: f32) -> Rgb {
    [0.0, 2.0 / 3.0, 1.0 / 3.0].map(|shift| {
        let from_peak = ((hue + shift).rem_euclid(1.0) * 6.0 - 3.0).abs();
        value * (1.0 - saturation + saturation * (from_peak - 1.0).clamp(0.0, 1.0))
    })
}

/// Near enough: the sum of four uniform numbers, with deviation 1.
fn gaussian(random: &mut ChaCha8Rng) -> f32 {
    let sum: f32 = (0..4).map(|_| random.random::<f32>()).sum();
    (sum - 2.0) * 3.0_f32.sqrt()
}
