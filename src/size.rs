//! Heights and widths.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Rows and columns of pixels. Written and stored as `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "[usize; 2]", into = "[usize; 2]")]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// Maximum side of an image that is decoded or preprocessed, in pixels.
pub const MAX_IMAGE_SIDE: usize = 1 << 16;

impl Size {
    /// A size from rows and columns.
    pub const fn new(height: usize, width: usize) -> Size {
        Size { height, width }
    }

    /// `[height, width]`.
    pub(crate) const fn array(self) -> [usize; 2] {
        [self.height, self.width]
    }

    /// Applies a function to both sides.
    pub(crate) fn map(self, f: impl Fn(usize) -> usize) -> Size {
        Size { height: f(self.height), width: f(self.width) }
    }
}

impl From<[usize; 2]> for Size {
    /// A size from `[height, width]`.
    fn from([height, width]: [usize; 2]) -> Size {
        Size { height, width }
    }
}

impl From<Size> for [usize; 2] {
    /// `[height, width]`.
    fn from(size: Size) -> [usize; 2] {
        size.array()
    }
}

impl fmt::Display for Size {
    /// `HEIGHTxWIDTH`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.height, self.width)
    }
}
