//! The moving picture: digits that drift over a black ground, one after the other.

use rmnet::images::{self, ColorMode, Orientation};
use std::error::Error;
use std::path::Path;

/// Frames for which a digit is shown.
const FRAMES_PER_DIGIT: u32 = 20;

pub struct Picture {
    /// RGBA, rows without gaps, all of one size.
    digits: Vec<Vec<u8>>,
    /// Rows and columns.
    pub size: [usize; 2],
}

impl Picture {
    /// The PNG files of a folder.
    pub fn open(folder: &Path) -> Result<Picture, Box<dyn Error>> {
        let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let mut files = entries.map(|e| Ok(e?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
        files.sort();
        let (mut digits, mut size) = (vec![], [0, 0]);
        for file in files {
            let pixels = images::decode(&std::fs::read(&file)?, ColorMode::Rgb, Orientation::Apply)
                .map_err(|e| format!("{}: {e}", file.display()))?;
            size = [pixels.height, pixels.width];
            digits
                .push(pixels.data.as_chunks::<3>().0.iter().flat_map(|&[r, g, b]| [r, g, b, 255]).collect());
        }
        if digits.is_empty() {
            return Err(format!("{}: no image", folder.display()).into());
        }
        Ok(Picture { digits, size })
    }

    /// The pixels of a frame, RGBA: the digit has moved by up to two pixels.
    pub fn frame(&self, frame: u32) -> Vec<u8> {
        let [height, width] = self.size;
        let digit = &self.digits[(frame / FRAMES_PER_DIGIT) as usize % self.digits.len()];
        let angle = frame as f64 / 8.0;
        let [down, right] = [angle.sin(), angle.cos()].map(|part| (2.0 * part).round() as isize);
        let mut pixels = [0, 0, 0, 255].repeat(height * width);
        for y in 0..height {
            for x in 0..width {
                let from = (y.checked_add_signed(-down), x.checked_add_signed(-right));
                if let (Some(from_y), Some(from_x)) = from
                    && from_y < height
                    && from_x < width
                {
                    let (to, from) = (4 * (y * width + x), 4 * (from_y * width + from_x));
                    pixels[to..to + 4].copy_from_slice(&digit[from..from + 4]);
                }
            }
        }
        pixels
    }
}
