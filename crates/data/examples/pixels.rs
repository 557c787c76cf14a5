//! Writes what images become, for `bench/pixels.py` to compare with Pillow and torchvision.
//!
//! ```text
//! cargo run --release -p alexnet-data --example pixels -- OUT RESIZE CROP FILE...
//! ```
//!
//! Of the n-th file, from 0: `OUT/n.rgb`, its pixels (height, width, 3), and `OUT/n.crop`, the same
//! brought to size and cut out (crop, crop, 3), as bytes.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use alexnet_data::{Fit, Preprocess, read_image};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let mut next = || arguments.next().ok_or("usage: pixels OUT RESIZE CROP FILE...");
    let out = PathBuf::from(next()?);
    let mut number = || Ok::<u32, Box<dyn Error>>(next()?.to_string_lossy().parse()?);
    let (resize, crop) = (number()?, number()?);
    let (mean, std) = ([0.0; 3], [1.0; 3]);
    let fit = Fit::ShorterSide;
    let preprocess = Preprocess { fit, resize, crop, mean, std, mean_image: None };
    for (index, file) in arguments.enumerate() {
        let image = read_image(Path::new(&file))?;
        let mut levels = vec![0.0; preprocess.image_len()];
        preprocess.evaluate(&image, &mut levels)?;
        // Whole numbers: nothing was subtracted and they were divided by 1.
        let levels: Vec<u8> = levels.into_iter().map(|level| level as u8).collect();
        fs::write(out.join(format!("{index}.rgb")), image.rgb())?;
        fs::write(out.join(format!("{index}.crop")), levels)?;
    }
    Ok(())
}
