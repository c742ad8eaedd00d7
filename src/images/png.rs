//! Decodes PNG: the `png` crate reads the stored samples, which are then converted as Pillow does.

use super::pillow::luma;
use super::{
    ColorMode, Decoded, Format, ImageError, MAX_BYTES, Needs, Pixels, check_size, orientation, turned,
};
use ::png::{BitDepth, ColorType, DecodeOptions, DecodingError, Info, Limits, Transformations};
use std::io::Cursor;

/// Maximum memory for text chunks, profiles and other metadata.
const MAX_METADATA: usize = 64 << 20;

/// Maximum length of an unpacked text chunk that is searched for an orientation.
const MAX_TEXT: usize = 1 << 20;

/// Maximum bytes of the decoder besides pixels and chunks: rows of the longest side, zlib's window and tables, and an unpacked orientation.
const DECODER: u64 = 8 << 20;

type Decoder<'a> = ::png::Decoder<Cursor<&'a [u8]>>;

fn damaged(reason: String) -> ImageError {
    ImageError::Damaged { format: Format::Png, reason }
}

fn refuse(e: DecodingError) -> ImageError {
    match e {
        DecodingError::IoError(_) => damaged("the file ends in the middle of a chunk".into()),
        DecodingError::LimitsExceeded => damaged(format!("chunks of more than {} MiB", MAX_METADATA >> 20)),
        other => damaged(other.to_string()),
    }
}

/// Bytes for all chunks except pixels, which the decoder keeps.
fn metadata(bytes: &[u8]) -> u64 {
    let (mut at, mut sum) = (8usize, 0u64);
    while let Some(header) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
        if &header[4..] != b"IDAT" {
            sum += u64::from(length).min(bytes.len() as u64);
        }
        at = at.saturating_add(12).saturating_add(length as usize);
    }
    // Twice, since a chunk is cloned to search it for an orientation.
    2 * sum.min(MAX_METADATA as u64)
}

/// A decoder that has read the header, and the memory its image needs.
fn open(bytes: &[u8], mode: ColorMode) -> Result<(Decoder<'_>, Needs), ImageError> {
    let mut options = DecodeOptions::default();
    options.set_ignore_checksums(false);
    // Pillow refuses these too.
    options.set_skip_ancillary_crc_failures(false);
    // Not used, and reading it would unpack it.
    options.set_ignore_iccp_chunk(true);
    let mut decoder = ::png::Decoder::new_with_options(Cursor::new(bytes), options);
    decoder.set_limits(Limits { bytes: MAX_METADATA });
    decoder.set_transformations(Transformations::IDENTITY);
    let header = decoder.read_header_info().map_err(refuse)?;
    let (width, height) = (header.width as usize, header.height as usize);
    let deep = header.bit_depth == BitDepth::Sixteen;
    let stored = header.color_type.samples() as u64 * if deep { 2 } else { 1 };
    let made = if is_stored(header.color_type, header.bit_depth, mode) { 0 } else { mode.channels() };
    let area = width as u64 * height as u64;
    let own = DECODER + metadata(bytes);
    let decoded = area.saturating_mul(stored + made as u64).saturating_add(own);
    check_size(width, height, decoded)?;
    // The orientation may follow the pixels; the memory for turning is checked again when it is known.
    let upright = turned(area * mode.channels() as u64).saturating_add(own);
    let bytes = decoded.max(upright.min(MAX_BYTES as u64)) as usize;
    Ok((decoder, Needs { width, height, bytes }))
}

/// Memory that [`decode`] needs.
pub(super) fn needs(bytes: &[u8], mode: ColorMode) -> Result<Needs, ImageError> {
    open(bytes, mode).map(|(_, needs)| needs)
}

pub(super) fn decode(bytes: &[u8], mode: ColorMode) -> Result<Decoded, ImageError> {
    let (decoder, Needs { width, height, .. }) = open(bytes, mode)?;
    let mut reader = decoder.read_info().map_err(refuse)?;
    let size = reader.output_buffer_size().ok_or_else(|| damaged("sizes beyond memory".into()))?;
    let mut stored = vec![0; size];
    let frame = reader.next_frame(&mut stored).map_err(refuse)?;
    // Read to the end of the file, to refuse a truncated one, and because the orientation may follow the pixels.
    reader.finish().map_err(refuse)?;
    let info = reader.info();
    let orientation = orientation(info);
    if is_stored(frame.color_type, frame.bit_depth, mode) && frame.line_size == width * mode.channels() {
        let pixels = Pixels { width, height, channels: mode.channels(), data: stored };
        return Ok(Decoded { pixels, orientation });
    }

    if frame.color_type == ColorType::Indexed && info.palette.as_deref().is_none_or(<[u8]>::is_empty) {
        return Err(damaged("indices into a palette that is not there".into()));
    }
    let samples = Samples {
        width,
        height,
        depth: frame.bit_depth,
        color: frame.color_type,
        line: frame.line_size,
        bytes: &stored,
        palette: info.palette.as_deref().unwrap_or_default(),
        transparency: info.trns.as_deref(),
    };
    let data = samples.to_mode(mode)?;
    let pixels = Pixels { width, height, channels: mode.channels(), data };
    Ok(Decoded { pixels, orientation })
}

/// Whether the file stores the pixels in the requested mode.
fn is_stored(color: ColorType, depth: BitDepth, mode: ColorMode) -> bool {
    let same = matches!(
        (color, mode),
        (ColorType::Grayscale, ColorMode::Gray)
            | (ColorType::Rgb, ColorMode::Rgb)
            | (ColorType::Rgba, ColorMode::Rgba)
    );
    same && depth == BitDepth::Eight
}

/// The samples of an image as the file stores them, rows padded to whole bytes.
struct Samples<'a> {
    width: usize,
    height: usize,
    depth: BitDepth,
    color: ColorType,
    line: usize,
    bytes: &'a [u8],
    palette: &'a [u8],
    transparency: Option<&'a [u8]>,
}

impl Samples<'_> {
    fn to_mode(&self, mode: ColorMode) -> Result<Vec<u8>, ImageError> {
        let mut out = Vec::with_capacity(self.width * self.height * mode.channels());
        let alpha = match mode {
            ColorMode::Rgba => Some(self.alpha()?),
            _ => None,
        };
        let channels = self.color.samples();
        for row in self.bytes.chunks_exact(self.line.max(1)).take(self.height) {
            for x in 0..self.width {
                let sample = |c: usize| self.sample(row, x * channels + c);
                let rgb = match self.color {
                    ColorType::Grayscale | ColorType::GrayscaleAlpha => [sample(0); 3],
                    ColorType::Rgb | ColorType::Rgba => [sample(0), sample(1), sample(2)],
                    ColorType::Indexed => self.colour(usize::from(sample(0))),
                };
                match mode {
                    ColorMode::Gray => out.push(luma(rgb)),
                    _ => out.extend(rgb),
                }
                out.extend(alpha.map(|alpha| match alpha {
                    Alpha::Stored => sample(channels - 1),
                    Alpha::Palette(table) => table.get(usize::from(sample(0))).copied().unwrap_or(255),
                    Alpha::Colour(clear) => {
                        if rgb == clear {
                            0
                        } else {
                            255
                        }
                    }
                }));
            }
        }
        Ok(out)
    }

    /// A sample as 8 bits. Gray of fewer bits is scaled to the full range, 16-bit gray is clipped at 255 (Pillow's `I;16`), other 16-bit
    /// samples become their high byte, and a palette index is unchanged.
    fn sample(&self, row: &[u8], i: usize) -> u8 {
        let bits = self.depth as usize;
        if bits == 16 {
            let (high, low) = (row[2 * i], row[2 * i + 1]);
            return match self.color {
                ColorType::Grayscale if high > 0 => 255,
                ColorType::Grayscale => low,
                _ => high,
            };
        }
        let per_byte = 8 / bits;
        let most = (0xff >> (8 - bits)) as u8;
        let value = (row[i / per_byte] >> ((per_byte - 1 - i % per_byte) * bits)) & most;
        match self.color {
            ColorType::Indexed => value,
            _ => value * (255 / most),
        }
    }

    /// A colour of the palette; black beyond its end.
    fn colour(&self, index: usize) -> [u8; 3] {
        match self.palette.get(3 * index..3 * index + 3) {
            Some(&[r, g, b]) => [r, g, b],
            _ => [0; 3],
        }
    }

    fn alpha(&self) -> Result<Alpha<'_>, ImageError> {
        let found = match self.color {
            ColorType::GrayscaleAlpha | ColorType::Rgba => return Ok(Alpha::Stored),
            ColorType::Indexed => "a palette of opaque colours",
            ColorType::Grayscale => "a gray image",
            ColorType::Rgb => "an RGB image",
        };
        match (self.color, self.depth, self.transparency) {
            (ColorType::Indexed, _, Some(table)) => Ok(Alpha::Palette(table)),
            (ColorType::Grayscale, BitDepth::Eight, Some(&[v])) => Ok(Alpha::Colour([v; 3])),
            (ColorType::Rgb, BitDepth::Eight, Some(&[r, g, b])) => Ok(Alpha::Colour([r, g, b])),
            _ => Err(ImageError::NoAlpha { found: found.into() }),
        }
    }
}

/// Where the fourth channel comes from.
#[derive(Clone, Copy)]
enum Alpha<'a> {
    /// The last sample of a pixel.
    Stored,
    /// Looked up by palette index; opaque beyond its end.
    Palette(&'a [u8]),
    /// This colour is transparent, all others are opaque.
    Colour([u8; 3]),
}

/// The orientation from the `eXIf` chunk, else from a `Raw profile type exif` text as ImageMagick writes it, else from XMP.
fn orientation(info: &Info<'_>) -> u8 {
    let raw_profile = || {
        let latin = info.uncompressed_latin1_text.iter().map(|t| (t.keyword.as_str(), Some(t.text.clone())));
        let packed = info.compressed_latin1_text.iter().map(|t| {
            let mut t = t.clone();
            let text = t.decompress_text_with_limit(MAX_TEXT).is_ok().then(|| t.get_text().ok()).flatten();
            (info_keyword(&t.keyword), text)
        });
        let text = latin.chain(packed).find(|(keyword, _)| *keyword == RAW_PROFILE)?.1?;
        // Three lines of heading, then hexadecimal digits.
        let digits: Vec<u8> =
            text.split('\n').skip(3).flat_map(str::bytes).filter(|b| !b.is_ascii_whitespace()).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect::<Option<Vec<u8>>>()
    };
    let exif = info.exif_metadata.as_deref().map(<[u8]>::to_vec).or_else(raw_profile);
    let xmp = info.utf8_text.iter().find(|t| t.keyword == "XML:com.adobe.xmp").and_then(|t| {
        let mut t = t.clone();
        t.decompress_text_with_limit(MAX_TEXT).ok()?;
        t.get_text().ok()
    });
    orientation::decide(exif.as_deref(), xmp.as_deref().map(str::as_bytes))
}

const RAW_PROFILE: &str = "Raw profile type exif";

/// The raw profile's keyword, or an empty text for other keywords.
fn info_keyword(keyword: &str) -> &'static str {
    if keyword == RAW_PROFILE { RAW_PROFILE } else { "" }
}
