//! The memory that decoding and resizing take is what they say beforehand, or less; what is too large is refused without taking it.
#![cfg(feature = "images")]

use rmnet::images::{self, ColorMode, Orientation};
use rmnet::preprocess::{CropRule, ImageView, Interpolation, PixelFormat, Preprocess, Resize, Size};
use safetensors::SafeTensors;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Counts what a thread holds.
struct Counting;

fn count(bytes: isize) {
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that a call holds at a time, beside what was held before.
fn peak<T>(call: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let result = call();
    (result, (PEAK.get() - before) as usize)
}

const MODES: [ColorMode; 3] = [ColorMode::Gray, ColorMode::Rgb, ColorMode::Rgba];

#[track_caller]
fn stays_within(name: &str, file: &[u8]) {
    for mode in MODES {
        let needs = images::needs(file, mode);
        for orientation in [Orientation::Apply, Orientation::Ignore] {
            let (decoded, peak) = peak(|| images::decode(file, mode, orientation));
            match &needs {
                Ok(needs) => assert!(peak <= needs.bytes, "{name}, {mode:?}: {peak} of {needs:?}"),
                Err(e) => assert_eq!(decoded.as_ref().err(), Some(e), "{name}, {mode:?}"),
            }
            // What is claimed is not far from what is taken, where pixels count for more than tables.
            if let (Ok(needs), Ok(pixels)) = (&needs, &decoded)
                && pixels.data.len() > 8 << 20
            {
                assert!(peak * 4 > needs.bytes, "{name}, {mode:?}: only {peak} of {needs:?}");
            }
        }
    }
}

#[test]
fn decoders_take_no_more_than_they_say() {
    let bytes =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/images/cases.safetensors"));
    let bytes = bytes.expect("the fixture");
    let cases = SafeTensors::deserialize(&bytes).expect("safetensors");
    let files: Vec<&str> = cases.names().into_iter().filter(|n| n.starts_with("file/")).collect();
    assert!(files.len() > 100);
    for name in files {
        stays_within(name, cases.tensor(name).expect("a case").data());
    }
}

fn png(side: u32, color: png::ColorType, depth: png::BitDepth) -> Vec<u8> {
    let mut file = vec![];
    let mut encoder = png::Encoder::new(&mut file, side, side);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == png::ColorType::Indexed {
        encoder.set_palette(vec![7; 12]);
    }
    let row = (side as usize * color.samples() * depth as usize).div_ceil(8);
    let mut writer = encoder.write_header().expect("a header");
    writer.write_image_data(&vec![0; row * side as usize]).expect("pixels");
    writer.finish().expect("a file");
    file
}

#[test]
fn large_images_of_every_kind() {
    use png::{BitDepth, ColorType};
    let kinds = [
        (ColorType::Rgb, BitDepth::Sixteen),
        (ColorType::Rgba, BitDepth::Sixteen),
        (ColorType::Rgb, BitDepth::Eight),
        (ColorType::Rgba, BitDepth::Eight),
        (ColorType::Grayscale, BitDepth::Sixteen),
        (ColorType::Grayscale, BitDepth::One),
        (ColorType::GrayscaleAlpha, BitDepth::Eight),
        (ColorType::Indexed, BitDepth::Two),
    ];
    for (color, depth) in kinds {
        stays_within(&format!("{color:?}, {depth:?}"), &png(2000, color, depth));
    }
    use libjpeg_turbo_rs::{Encoder, PixelFormat, Subsampling};
    let pixels: Vec<u8> = (0..2001 * 1501 * 3).map(|i: usize| (i * i / 999) as u8).collect();
    for subsampling in [Subsampling::S444, Subsampling::S420, Subsampling::S422] {
        for progressive in [false, true] {
            let encoder = Encoder::new(&pixels, 2001, 1501, PixelFormat::Rgb);
            let file = encoder.subsampling(subsampling).progressive(progressive).encode().expect("a file");
            stays_within(&format!("JPEG {subsampling:?}, progressive {progressive}"), &file);
        }
    }
    let gray =
        Encoder::new(&pixels[..2001 * 1501], 2001, 1501, PixelFormat::Grayscale).encode().expect("a file");
    stays_within("gray JPEG", &gray);
}

/// Headers of the largest sizes, with a few bytes behind them.
#[test]
fn headers_alone_refuse_what_is_too_large() {
    let mut file = png(16, png::ColorType::Rgb, png::BitDepth::Eight);
    for (width, height) in [(65536u32, 65536u32), (u32::MAX >> 1, 1), (1, u32::MAX >> 1), (20000, 10000)] {
        file[16..20].copy_from_slice(&width.to_be_bytes());
        file[20..24].copy_from_slice(&height.to_be_bytes());
        let crc = crc32(&file[12..29]);
        file[29..33].copy_from_slice(&crc.to_be_bytes());
        let (result, peak) = peak(|| images::decode(&file, ColorMode::Rgb, Orientation::Apply));
        let error = result.unwrap_err().to_string();
        assert!(error.contains("512 MiB") && peak < 1 << 20, "{width}x{height}: {peak} bytes, {error}");
    }
    // A frame of 65500 x 65500 pixels in one scan that holds nothing.
    let sof = [0xff, 0xc0, 0, 17, 8, 0xff, 0xdc, 0xff, 0xdc, 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1];
    let sos = [0xff, 0xda, 0, 12, 3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0];
    let jpeg = [&[0xff, 0xd8][..], &sof, &sos, &[0xff, 0xd9]].concat();
    let (result, peak) = peak(|| images::decode(&jpeg, ColorMode::Rgb, Orientation::Apply));
    let error = result.unwrap_err().to_string();
    assert!(error.contains("512 MiB") && peak < 1 << 20, "{peak} bytes, {error}");
}

/// As PNG has it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 })
    })
}

#[test]
fn resizing_takes_no_more_than_it_says() {
    let filters = [
        Interpolation::Nearest,
        Interpolation::Bilinear,
        Interpolation::Bicubic,
        Interpolation::Lanczos,
        Interpolation::Box,
        Interpolation::Hamming,
    ];
    let resizes = [
        Resize::None,
        Resize::Shortest(3),
        Resize::Shortest(900),
        Resize::Exact(Size::new(7, 2000)),
        Resize::Exact(Size::new(2000, 7)),
        Resize::Cover(Size::new(50, 300)),
    ];
    for (width, height) in [(1, 1), (640, 480), (3000, 2), (2, 3000), (1200, 1300)] {
        for channels in [1, 3, 4] {
            let pixels = vec![9; width * height * channels];
            for (interpolation, resize) in filters.iter().flat_map(|f| resizes.iter().map(move |r| (*f, *r)))
            {
                for size in [[1, 1], [224, 200], [1500, 16]] {
                    let preprocess = Preprocess {
                        size: size.into(),
                        resize,
                        interpolation,
                        crop_rule: CropRule::Torchvision,
                        mean: vec![0.5],
                        std: vec![0.5],
                        ..Preprocess::imagenet()
                    };
                    let said = preprocess.bytes(Size::new(height, width), channels).expect("small sizes");
                    let format = [PixelFormat::Gray8, PixelFormat::Rgb8, PixelFormat::Rgba8];
                    let format = format.into_iter().find(|f| f.bytes() == channels).expect("such a format");
                    let view = ImageView::new(&pixels, Size::new(height, width), format);
                    let (result, peak) = peak(|| preprocess.apply(view, channels));
                    result.expect("an input");
                    // Tables of 256 values a channel, and the like.
                    let more = 64 << 10;
                    assert!(
                        peak <= said + more,
                        "{width}x{height}x{channels} {resize:?} {interpolation:?} to {size:?}: {peak} of {said}"
                    );
                }
            }
        }
    }
}

#[test]
fn sizes_beyond_memory_are_refused_before_it_is_asked_for() {
    let pixels = vec![0; 3000 * 3];
    let cases = [
        (Size::new(65536, 65536), Resize::Exact(Size::new(65536, 65536))),
        (Size::new(65536, 65536), Resize::None),
        (Size::new(224, 224), Resize::Shortest(6_553_600)),
        (Size::new(224, 224), Resize::Shortest(65536)),
        (Size::new(1, 65536), Resize::Exact(Size::new(6_553_600, 6_553_600))),
        (Size::new(8, 8), Resize::Cover(Size::new(6_553_600, 1))),
    ];
    for interpolation in [Interpolation::Nearest, Interpolation::Lanczos] {
        for (size, resize) in cases {
            for (width, height) in [(3000, 1), (1, 3000), (50, 60)] {
                let preprocess = Preprocess { size, resize, interpolation, ..Preprocess::imagenet() };
                let start = std::time::Instant::now();
                let (result, peak) = peak(|| {
                    let image = ImageView::new(&pixels, Size::new(height, width), PixelFormat::Rgb8);
                    preprocess.apply(image, 3)
                });
                if result.is_err() {
                    assert!(peak < 1 << 20, "{size:?} {resize:?} of {width}x{height}: {peak}");
                }
                assert!(peak <= 513 << 20 && start.elapsed().as_secs() < 20, "{size:?} {resize:?}: {peak}");
            }
        }
    }
    let absurd = Preprocess { size: Size::new(65536, 65536), ..Preprocess::imagenet() };
    assert!(absurd.check(3).unwrap_err().to_string().contains("512 MiB"));
}
