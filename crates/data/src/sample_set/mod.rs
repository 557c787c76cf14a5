//! The built-in sample set: a small vision problem drawn by the program itself.
//!
//! Twelve classes are three shapes in two textures in two colours, such as `red-striped-circle`,
//! so that shape, texture and colour are all needed. Place, size, angle, tint and light vary, and
//! the background is cluttered with patches of both colours and both textures.
//! Nothing is downloaded: an image is a pure function of (seed, split, class, index).

mod figure;
mod scene;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use rand::RngExt;

use crate::error::DataError;
use crate::image::Image;
use crate::random::{Purpose, generator};
use crate::sources::{TRAIN, VAL};
use crate::whole_file::{fill_beside, folder_of};
use figure::{Outline, Texture};
use scene::{Colour, Scene, Subject};

const JPEG_QUALITY: u8 = 90;
/// The longer side is up to this times the shorter.
const ASPECT_MAX: f32 = 1.33;

// Each list is in alphabetical order, so that the classes are too.
const COLOURS: [(&str, Colour); 2] = [("blue", Colour::Blue), ("red", Colour::Red)];
const TEXTURES: [(&str, Texture); 2] = [("dotted", Texture::Dots), ("striped", Texture::Stripes)];
const OUTLINES: [(&str, Outline); 3] =
    [("circle", Outline::Circle), ("cross", Outline::Cross), ("triangle", Outline::Triangle)];

/// How many images of the sample set are drawn, and how large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleSet {
    /// Another seed gives other images of the same classes.
    pub seed: u64,
    /// Training images of each class.
    pub train_per_class: u32,
    /// Validation images of each class.
    pub val_per_class: u32,
    /// The shorter side of every image, in pixels.
    pub side: u32,
}

impl Default for SampleSet {
    fn default() -> SampleSet {
        SampleSet { seed: 0, train_per_class: 200, val_per_class: 40, side: 128 }
    }
}

/// Which of the two splits an image belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleSplit {
    /// `train/`
    Train,
    /// `val/`
    Val,
}

impl SampleSet {
    /// The names of the twelve classes, sorted.
    #[must_use]
    pub fn classes() -> Vec<String> {
        subjects().into_iter().map(|(name, _)| name).collect()
    }

    /// Image number `index` of class number `class`, counted as [`SampleSet::classes`] does.
    ///
    /// # Panics
    /// If there is no such class.
    #[must_use]
    pub fn draw(&self, class: usize, index: u32, split: SampleSplit) -> Image {
        let (_, subject) = subjects().swap_remove(class);
        let member = (class as u64) << 32 | u64::from(index);
        let mut random = generator(self.seed, Purpose::SampleSet, split as u64, member);
        let side = self.side.max(1);
        let longer = (side as f32 * random.random_range(1.0..ASPECT_MAX)) as u32;
        let (width, height) = if random.random() { (side, longer) } else { (longer, side) };
        Scene::arrange(subject, &mut random).paint(width, height, &mut random)
    }

    /// Writes `root/{train,val}/<class>/NNNN.jpg` and a `README.txt`. The set is drawn beside
    /// `root` and renamed when it is whole. `progress` hears (images done, images in all) and
    /// says whether to go on.
    ///
    /// # Errors
    /// If `root` exists and is not empty, or cannot be written, or `progress` said to stop; nothing
    /// is left then.
    pub fn write(
        &self,
        root: &Path,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<(), DataError> {
        // By its own name, `.` could not be replaced.
        let root = &root.canonicalize().unwrap_or_else(|_| root.to_path_buf());
        let occupied = fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_some());
        if occupied || root.is_file() {
            return Err(DataError::NotEmpty { path: root.to_path_buf() });
        }
        let parent = folder_of(root);
        fs::create_dir_all(parent).map_err(DataError::io("create", parent))?;
        fill_beside(root, |beside| self.fill(beside, progress))
    }

    fn fill(
        &self,
        root: &Path,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<(), DataError> {
        let total = (u64::from(self.train_per_class) + u64::from(self.val_per_class))
            * subjects().len() as u64;
        let mut done = 0;
        for (class, name) in Self::classes().iter().enumerate() {
            for (split, folder, count) in [
                (SampleSplit::Train, TRAIN, self.train_per_class),
                (SampleSplit::Val, VAL, self.val_per_class),
            ] {
                let folder = root.join(folder).join(name);
                fs::create_dir_all(&folder).map_err(DataError::io("create", &folder))?;
                for index in 0..count {
                    let path = folder.join(format!("{index:04}.jpg"));
                    write_jpeg(&self.draw(class, index, split), &path)?;
                    done += 1;
                    if !progress(done, total) {
                        return Err(DataError::Stopped);
                    }
                }
            }
        }
        let readme = root.join("README.txt");
        fs::write(&readme, self.readme()).map_err(DataError::io("create", &readme))
    }

    fn readme(&self) -> String {
        let SampleSet { seed, train_per_class, val_per_class, side } = self;
        format!(
            "The sample set of the program `alexnet`: images it drew by itself.\n\n\
             Twelve classes: a circle, cross or triangle; striped or dotted; red or blue.\n\
             Place, size, angle, tint and light vary; the rest of an image is there to distract.\n\
             {train_per_class} training and {val_per_class} validation images a class, \
             shorter side {side} pixels, seed {seed}.\n\n\
             No photograph and nobody else's work went into it; use it freely (CC0).\n\
             It can be deleted: the program draws it again.\n"
        )
    }
}

/// Every class with its name, sorted by name.
fn subjects() -> Vec<(String, Subject)> {
    let mut subjects = Vec::new();
    for (colour_name, colour) in COLOURS {
        for (texture_name, texture) in TEXTURES {
            for (outline_name, outline) in OUTLINES {
                let name = format!("{colour_name}-{texture_name}-{outline_name}");
                subjects.push((name, Subject { outline, texture, colour }));
            }
        }
    }
    subjects
}

fn write_jpeg(image: &Image, path: &Path) -> Result<(), DataError> {
    let file = File::create(path).map_err(DataError::io("create", path))?;
    let mut file = BufWriter::new(file);
    JpegEncoder::new_with_quality(&mut file, JPEG_QUALITY)
        .encode(image.rgb(), image.width(), image.height(), ExtendedColorType::Rgb8)
        .map_err(std::io::Error::other)
        .and_then(|()| file.flush())
        .map_err(DataError::io("create", path))
}
