//! Finds and applies EXIF orientation, as Pillow's `ImageOps.exif_transpose` does.

use super::Pixels;

/// The tag `Orientation` of a TIFF directory.
const ORIENTATION: u16 = 0x0112;

/// The value of `Orientation` in an EXIF block (a TIFF file, optionally preceded by `Exif\0\0`). `None` for broken blocks.
pub(super) fn from_exif(mut block: &[u8]) -> Option<i64> {
    for _ in 0..2 {
        block = block.strip_prefix(b"Exif\0\0").unwrap_or(block);
    }
    let little = match block.get(..2)? {
        b"II" => true,
        b"MM" => false,
        _ => return None,
    };
    let u16_at = |at: usize| -> Option<u16> {
        let bytes = block.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let u32_at = |at: usize| -> Option<u32> {
        let bytes = block.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    let mut entry = u32_at(4)? as usize;
    let entries = u16_at(entry)?;
    entry += 2;
    let mut far = 0;
    for _ in 0..entries {
        let (tag, kind, count) = (u16_at(entry)?, u16_at(entry + 2)?, u32_at(entry + 4)? as usize);
        u32_at(entry + 8)?;
        let size = match kind {
            1 | 2 | 6 | 7 => 1,
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16 => 8,
            _ => 0,
        };
        let bytes = count.saturating_mul(size);
        let mut at = entry + 8;
        entry += 12;
        if bytes == 0 {
            continue;
        }
        if bytes > 4 {
            // Pillow skips values that cannot lie in the block, and stops at one that extends past its end.
            far += bytes.min(block.len() + 1);
            if far > block.len() {
                continue;
            }
            at = u32_at(at)? as usize;
            block.get(at..at.checked_add(bytes)?)?;
        }
        if tag == ORIENTATION {
            return match kind {
                6 => Some(i64::from(block[at] as i8)),
                3 => Some(i64::from(u16_at(at)?)),
                8 => Some(i64::from(u16_at(at)? as i16)),
                4 => Some(i64::from(u32_at(at)?)),
                9 => Some(i64::from(u32_at(at)? as i32)),
                _ => None,
            };
        }
    }
    None
}

/// `tiff:Orientation` of an XMP packet: the first attribute or element of this name, with one digit.
pub(super) fn from_xmp(packet: &[u8]) -> Option<i64> {
    const NAME: &[u8] = b"tiff:Orientation";
    let ends = (NAME.len()..packet.len()).filter(|end| packet[..*end].ends_with(NAME));
    ends.into_iter().find_map(|end| {
        let rest = &packet[end..];
        let rest = rest.strip_prefix(b"=\"").or_else(|| rest.strip_prefix(b">"))?;
        rest.first().filter(|c| c.is_ascii_digit()).map(|c| i64::from(c - b'0'))
    })
}

/// The orientation of a file: EXIF takes precedence over XMP, and a value outside 1 to 8 is ignored.
pub(super) fn decide(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> u8 {
    let found = exif.and_then(from_exif).or_else(|| xmp.and_then(from_xmp));
    found.and_then(|v| u8::try_from(v).ok()).filter(|v| (1..=8).contains(v)).unwrap_or(1)
}

/// Turns the image upright.
pub(super) fn transpose(image: Pixels, orientation: u8) -> Pixels {
    if !(2..=8).contains(&orientation) {
        return image;
    }
    let Pixels { width: w, height: h, channels, .. } = image;
    let (width, height) = if orientation >= 5 { (h, w) } else { (w, h) };
    let mut data = Vec::with_capacity(image.data.len());
    for y in 0..height {
        for x in 0..width {
            let (from_x, from_y) = match orientation {
                2 => (w - 1 - x, y),
                3 => (w - 1 - x, h - 1 - y),
                4 => (x, h - 1 - y),
                5 => (y, x),
                6 => (y, h - 1 - x),
                7 => (w - 1 - y, h - 1 - x),
                _ => (w - 1 - y, x),
            };
            let at = (from_y * w + from_x) * channels;
            data.extend_from_slice(&image.data[at..at + channels]);
        }
    }
    Pixels { width, height, channels, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exif(little: bool, kind: u16, value: u16) -> Vec<u8> {
        let mut block = if little { b"II*\0".to_vec() } else { b"MM\0*".to_vec() };
        let mut put = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            if little {
                bytes.reverse();
            }
            block.extend(bytes);
        };
        put(&8u32.to_be_bytes());
        put(&1u16.to_be_bytes());
        put(&ORIENTATION.to_be_bytes());
        put(&kind.to_be_bytes());
        put(&1u32.to_be_bytes());
        put(&value.to_be_bytes());
        block.extend([0; 6]);
        block
    }

    #[test]
    fn every_cut_of_a_block_is_ignored_or_right() {
        for little in [true, false] {
            let block = exif(little, 3, 6);
            assert_eq!(from_exif(&block), Some(6));
            assert_eq!(from_exif(&[b"Exif\0\0", &block[..]].concat()), Some(6));
            for end in 0..block.len() {
                assert!(matches!(from_exif(&block[..end]), None | Some(6)), "cut at {end}");
            }
            // A type that is not an integer, and undefined values.
            assert_eq!(from_exif(&exif(little, 1, 6)), None);
            assert_eq!(decide(Some(&exif(little, 3, 9)), None), 1);
        }
        let mut far = exif(true, 3, 6);
        far[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(from_exif(&far), None);
    }

    #[test]
    fn xmp_counts_where_exif_says_nothing() {
        assert_eq!(decide(None, Some(b"<x tiff:Orientation=\"8\"/>")), 8);
        assert_eq!(decide(None, Some(b"<tiff:Orientation>3</tiff:Orientation>")), 3);
        assert_eq!(decide(None, Some(b"tiff:Orientation")), 1);
        assert_eq!(decide(Some(&exif(true, 3, 6)), Some(b"tiff:Orientation=\"8\"")), 6);
    }
}
