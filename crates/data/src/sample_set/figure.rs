//! Figures: an outline filled with a textured paint.
//!
//! Lengths are in shorter sides of the image, its middle is (0, 0).

use std::f32::consts::{PI, TAU};

/// A point, (x, y), or a direction.
pub(crate) type Point = [f32; 2];
/// Red, green and blue, each 0 to 1.
pub(crate) type Rgb = [f32; 3];

/// Three shapes of equal area.
#[derive(Clone, Copy)]
pub(crate) enum Outline {
    Circle,
    Cross,
    Triangle,
}

/// How ink lies on the base colour.
#[derive(Clone, Copy)]
pub(crate) enum Texture {
    Plain,
    Dots,
    Stripes,
}

/// What a figure is filled with.
#[derive(Clone, Copy)]
pub(crate) struct Paint {
    pub(crate) base: Rgb,
    pub(crate) ink: Rgb,
    pub(crate) texture: Texture,
    /// Of the texture, in radians.
    pub(crate) angle: f32,
    /// Stripes or dots per shorter side.
    pub(crate) frequency: f32,
    /// Shift of the texture, in its periods.
    pub(crate) phase: Point,
}

/// Something to be painted over what lies behind.
#[derive(Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) outline: Outline,
    pub(crate) centre: Point,
    /// Of a circle of the same area.
    pub(crate) radius: f32,
    /// In radians.
    pub(crate) angle: f32,
    /// Width of its edge; a pixel's makes it smooth, more makes it blurred.
    pub(crate) softness: f32,
    pub(crate) paint: Paint,
}

impl Figure {
    /// The colour at `point`, where `behind` is what the figure covers.
    pub(crate) fn over(&self, behind: Rgb, point: Point) -> Rgb {
        let local = [point[0] - self.centre[0], point[1] - self.centre[1]];
        let distance = distance(self.outline, rotate(local, self.angle), self.radius);
        let cover = 1.0 - smooth_step(-self.softness, self.softness, distance);
        if cover == 0.0 {
            return behind;
        }
        mix(behind, self.paint.colour(local, self.softness), cover)
    }
}

impl Paint {
    fn colour(&self, point: Point, softness: f32) -> Rgb {
        let turned = rotate(point, self.angle);
        let x = turned[0] * self.frequency + self.phase[0];
        let y = turned[1] * self.frequency + self.phase[1];
        // Positive where there is ink, in periods of the texture.
        let depth = match self.texture {
            Texture::Plain => return self.base,
            Texture::Stripes => 0.25 - from_middle(x).abs(),
            Texture::Dots => 0.33 - from_middle(x).hypot(from_middle(y)),
        };
        let edge = softness * self.frequency;
        mix(self.base, self.ink, smooth_step(-edge, edge, depth))
    }
}

/// Signed distance to the outline, near enough, and negative inside; `radius` is that of a circle
/// of equal area.
fn distance(outline: Outline, [x, y]: Point, radius: f32) -> f32 {
    match outline {
        Outline::Circle => x.hypot(y) - radius,
        Outline::Cross => {
            // Arms of length a and half width 0.36 a cover 4 (2 * 0.36 - 0.36^2) a^2.
            let arm = radius * (PI / 2.3616).sqrt();
            let (along, across) = (x.abs().max(y.abs()), x.abs().min(y.abs()));
            (along - arm).max(across - 0.36 * arm)
        }
        Outline::Triangle => {
            // With edges b from its middle it covers 3 sqrt(3) b^2.
            let to_edge = |edge: u8| rotate([x, y], f32::from(edge) * TAU / 3.0)[1];
            let farthest = to_edge(0).max(to_edge(1)).max(to_edge(2));
            farthest - radius * (PI / 27_f32.sqrt()).sqrt()
        }
    }
}

/// Where `x` lies in its period, from -0.5 to 0.5.
fn from_middle(x: f32) -> f32 {
    x - x.round()
}

pub(crate) fn rotate([x, y]: Point, angle: f32) -> Point {
    let (sin, cos) = angle.sin_cos();
    [x * cos + y * sin, y * cos - x * sin]
}

/// 0 below `from`, 1 above `to`, smooth between.
pub(crate) fn smooth_step(from: f32, to: f32, x: f32) -> f32 {
    let t = ((x - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

pub(crate) fn mix(a: Rgb, b: Rgb, share: f32) -> Rgb {
    std::array::from_fn(|colour| a[colour] + (b[colour] - a[colour]) * share)
}
