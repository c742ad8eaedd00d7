//! A plan as a picture: memory on the vertical axis, dispatches on the horizontal one, and a named box per buffer.

use super::display::mib;
use super::{Buffer, Plan};
use std::collections::HashMap;
use std::fmt::Write;
use std::ops::RangeInclusive;

/// Pixels. The byte scale is linear and uniform, so that heights can be compared and added.
const HEIGHT: f64 = 560.0;
const LEFT: f64 = 150.0;
const TOP: f64 = 64.0;
/// Minimum margin right of and below the columns; names of dispatches may need more.
const MARGIN: f64 = 20.0;
/// Clockwise rotation of dispatch names, in degrees.
const TURN: f64 = 55.0;
/// Minimum and maximum width of a dispatch; the names in its boxes decide.
const COLUMN: [f64; 2] = [22.0, 64.0];
const FONT: f64 = 10.0;
/// Estimated mean character width, generous for lower case.
const CHARACTER: f64 = 5.6;
/// Space to the left and right of a box's text.
const PADDING: f64 = 4.0;

/// A buffer with its slot and live range.
struct Bar<'a> {
    buffer: &'a Buffer,
    slot: usize,
    span: RangeInclusive<usize>,
    /// In columns. If a dispatch overwrites a buffer in place, the boxes of both buffers meet in the middle of the dispatch's column.
    from: f64,
    to: f64,
}

impl Plan {
    /// The plan as an SVG picture. The vertical axis is in bytes, with the slots stacked to scale. Every buffer is a box over the
    /// dispatches that need it, with its name, and a tooltip with the text that does not fit. Dashed lines mark the planned peak and the
    /// lower bound, which is the maximum of bytes live at one time.
    pub fn to_svg(&self) -> String {
        let bars = self.bars();
        let columns = bars.iter().map(|b| b.to.ceil() as usize).max().unwrap_or(0).max(self.dispatches.len());
        let column = bars
            .iter()
            .map(|b| (width_of(&b.buffer.name) + 2.0 * PADDING + 2.0) / (b.to - b.from))
            .fold(COLUMN[0], f64::max)
            .min(COLUMN[1]);
        let picture = Picture {
            peak: self.activation_bytes().max(self.lower_bound).max(1),
            column,
            width: columns as f64 * column,
            label: self.dispatches.iter().map(|d| width_of(&d.name)).fold(0.0, f64::max) + width_of("000 "),
        };
        let mut svg = picture.head();
        picture.titles(&mut svg, self);
        picture.axis(&mut svg);
        picture.slots(&mut svg, &self.slots);
        picture.dispatches(&mut svg, self);
        let mut bars_of: Vec<Vec<&Bar<'_>>> = self.slots.iter().map(|_| vec![]).collect();
        bars.iter().for_each(|b| bars_of[b.slot].push(b));
        let mut base = 0usize;
        for (bars, bytes) in bars_of.iter().zip(&self.slots) {
            bars.iter().for_each(|b| picture.bar(&mut svg, b, base));
            base = base.saturating_add(*bytes);
        }
        picture.limits(&mut svg, self.activation_bytes(), self.lower_bound);
        svg + "</svg>\n"
    }

    fn bars(&self) -> Vec<Bar<'_>> {
        let lives = self.lives();
        // Number of buffers per slot that begin, and end, with a dispatch.
        let (mut begin, mut end) = (HashMap::new(), HashMap::new());
        for (_, slot, span) in &lives {
            *begin.entry((*slot, *span.start())).or_insert(0) += 1;
            *end.entry((*slot, *span.end())).or_insert(0) += 1;
        }
        // A buffer that lives during a single dispatch does not count for itself.
        let meets = |others: &HashMap<(usize, usize), usize>, at: (usize, usize), itself: bool| {
            others.get(&at).copied().unwrap_or(0) > usize::from(itself)
        };
        let bar = |(id, slot, span): &(super::BufferId, usize, RangeInclusive<usize>)| {
            let single = span.start() == span.end();
            let overwrites = meets(&end, (*slot, *span.start()), single);
            let overwritten = meets(&begin, (*slot, *span.end()), single);
            let half = |yes: bool| if yes { 0.5 } else { 0.0 };
            Bar {
                buffer: self.buffer(*id),
                slot: *slot,
                span: span.clone(),
                from: *span.start() as f64 + half(overwrites),
                to: *span.end() as f64 + 1.0 - half(overwritten),
            }
        };
        lives.iter().map(bar).collect()
    }
}

/// The scales of a picture.
struct Picture {
    /// Bytes at the top of the axis.
    peak: usize,
    /// Width of a dispatch.
    column: f64,
    /// Width of all dispatches.
    width: f64,
    /// Length of the longest name below the columns.
    label: f64,
}

impl Picture {
    fn y(&self, bytes: usize) -> f64 {
        TOP + HEIGHT - bytes as f64 / self.peak as f64 * HEIGHT
    }

    fn x(&self, columns: f64) -> f64 {
        LEFT + columns * self.column
    }

    fn head(&self) -> String {
        let (sin, cos) = TURN.to_radians().sin_cos();
        let right = MARGIN.max(self.label * cos - self.column / 2.0 + FONT);
        let width = (LEFT + self.width + right).max(640.0);
        let height = TOP + HEIGHT + self.label * sin + 2.0 * MARGIN;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"{FONT}\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        )
    }

    fn titles(&self, svg: &mut String, plan: &Plan) {
        let _ = writeln!(
            svg,
            "<text x=\"{PADDING}\" y=\"18\" font-size=\"13\">Activation memory: {} dispatches, batch {}, {}; planned peak {}, \
             lower bound {}</text>\n<text x=\"{PADDING}\" y=\"34\" fill=\"#555\">A box is a buffer: as high as its bytes, as wide as \
             the dispatches that need it. The lower bound is the most bytes that live at one time.</text>",
            plan.dispatches.len(),
            plan.batch,
            plan.precision(),
            mib(plan.activation_bytes()),
            mib(plan.lower_bound)
        );
    }

    /// The scale of bytes.
    fn axis(&self, svg: &mut String) {
        let (step, unit, name) = ticks(self.peak);
        let (left, right) = (LEFT - 90.0, self.x(0.0) + self.width);
        let _ =
            writeln!(svg, "<path d=\"M{left} {:.1}V{:.1}\" stroke=\"#333\"/>", self.y(0), self.y(self.peak));
        for n in 0.. {
            let value = n as f64 * step;
            let bytes = (value * unit).round() as usize;
            if bytes > self.peak {
                break;
            }
            let y = self.y(bytes);
            let text = if n == 0 { "0".into() } else { format!("{} {name}", tidy(value)) };
            let _ = writeln!(
                svg,
                "<path d=\"M{:.1} {y:.1}H{right:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                left - 4.0,
                left - 7.0,
                y + 3.5
            );
        }
    }

    fn slots(&self, svg: &mut String, slots: &[usize]) {
        let mut base = 0;
        for (slot, bytes) in slots.iter().enumerate() {
            let (top, bottom) = (self.y(base + bytes), self.y(base));
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#777\" fill-opacity=\"0.07\" stroke=\"#999\">\
                 <title>slot {slot}: {}</title></rect>",
                self.width,
                bottom - top,
                mib(*bytes)
            );
            if bottom - top >= FONT {
                let middle = (top + bottom) / 2.0 + 3.5;
                let x = LEFT - PADDING;
                let _ = writeln!(
                    svg,
                    "<text x=\"{x}\" y=\"{middle:.1}\" text-anchor=\"end\" fill=\"#555\">slot {slot}: {}</text>",
                    mib(*bytes)
                );
            }
            base += bytes;
        }
    }

    /// Names of the dispatches, below their columns.
    fn dispatches(&self, svg: &mut String, plan: &Plan) {
        let (top, bottom) = (TOP, TOP + HEIGHT);
        for (t, d) in plan.dispatches.iter().enumerate() {
            let x = self.x(t as f64);
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {top}V{:.1}\" stroke=\"#eee\"/><text transform=\"translate({:.1},{:.1}) rotate({TURN})\">{t} {}</text>",
                bottom + 4.0,
                x + self.column / 2.0 - 3.0,
                bottom + 14.0,
                escape(&d.name)
            );
        }
    }

    fn bar(&self, svg: &mut String, bar: &Bar<'_>, base: usize) {
        let shape = bar.buffer.shape;
        let (top, bottom) = (self.y(base + shape.bytes()), self.y(base));
        let (x, width, height) =
            (self.x(bar.from) + 1.0, ((bar.to - bar.from) * self.column - 2.0).max(1.0), bottom - top);
        let (name, hue) = (escape(&bar.buffer.name), hue(&bar.buffer.name));
        let bytes = mib(shape.bytes());
        let about = format!("{} x {} x {}", shape.channels, shape.height, shape.width);
        let _ = write!(
            svg,
            "<g><title>{name}: {about}, {bytes}, dispatches {} to {}</title><rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" \
             height=\"{height:.1}\" rx=\"{:.1}\" fill=\"hsl({hue},55%,80%)\" stroke=\"hsl({hue},40%,45%)\"/>",
            bar.span.start(),
            bar.span.end(),
            (height / 2.0).min(3.0)
        );
        let lines = [bar.buffer.name.as_str(), bytes.as_str(), about.as_str()];
        let shown = ((height / (FONT + 2.0)) as usize).clamp(usize::from(height >= FONT), lines.len());
        let middle = (top + bottom) / 2.0 + 3.5;
        for (i, line) in lines[..shown].iter().enumerate() {
            if i > 0 && width_of(line) > width - 2.0 * PADDING {
                continue;
            }
            let y = middle + (i as f64 - (shown as f64 - 1.0) / 2.0) * (FONT + 2.0);
            let fill = if i == 0 { "#000" } else { "#555" };
            let text = escape(&fitting(line, width - 2.0 * PADDING));
            let _ = write!(svg, "<text x=\"{:.1}\" y=\"{y:.1}\" fill=\"{fill}\">{text}</text>", x + PADDING);
        }
        svg.push_str("</g>\n");
    }

    /// The planned peak and the lower bound, as lines at their bytes.
    fn limits(&self, svg: &mut String, peak: usize, lower_bound: usize) {
        let right = self.x(0.0) + self.width;
        // One label above its line, one below: they may be close, or the same.
        for (id, text, bytes, colour, below) in [
            ("planned-peak", "planned peak", peak, "#333", -4.0),
            ("lower-bound", "lower bound", lower_bound, "#c00", FONT + 2.0),
        ] {
            let y = self.y(bytes);
            let _ = writeln!(
                svg,
                "<path id=\"{id}\" d=\"M{LEFT} {y:.1}H{right:.1}\" stroke=\"{colour}\" stroke-width=\"1.5\" stroke-dasharray=\"6 4\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{colour}\" stroke=\"white\" stroke-width=\"3\" \
                 paint-order=\"stroke\">{text}: {}</text>",
                right - PADDING,
                y + below,
                mib(bytes)
            );
        }
    }
}

/// Step between the ticks of an axis that ends at `bytes`, the unit it is counted in, and the unit's name. The step is 1, 2 or 5 times a
/// power of ten, so that there are at most ten ticks.
fn ticks(bytes: usize) -> (f64, f64, &'static str) {
    let bytes = bytes as f64;
    let units = [("GiB", f64::from(1 << 30)), ("MiB", f64::from(1 << 20)), ("KiB", 1024.0)];
    let (name, unit) = units.into_iter().find(|(_, unit)| bytes >= *unit).unwrap_or(("B", 1.0));
    let least = bytes / unit / 10.0;
    let power = 10f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| *step >= least);
    (step.unwrap_or(least), unit, name)
}

/// Rounds away binary representation error.
fn tidy(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// A hue derived from the name, so that a buffer has the same colour in every picture.
fn hue(name: &str) -> u32 {
    let hash = name.bytes().fold(0u32, |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
    (hash.wrapping_mul(0x9e37_79b1) >> 16) % 360
}

fn width_of(text: &str) -> f64 {
    text.chars().count() as f64 * CHARACTER
}

/// Truncates a text to a width, keeping its end, where names differ.
fn fitting(text: &str, width: f64) -> String {
    let room = (width / CHARACTER).max(0.0) as usize;
    let length = text.chars().count();
    match length.checked_sub(room) {
        None | Some(0) => text.into(),
        Some(_) if room < 3 => String::new(),
        Some(over) => format!("\u{2026}{}", text.chars().skip(over + 1).collect::<String>()),
    }
}

/// Escapes text for XML and replaces forbidden control characters.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c if c.is_control() && !matches!(c, '\t' | '\n' | '\r') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_and_few() {
        for bytes in
            [1, 7, 1000, 1024, 5 << 10, 100 << 10, (1 << 20) - 1, 1 << 20, 3 << 19, 77 << 20, 5 << 30]
        {
            let (step, unit, name) = ticks(bytes);
            let count = bytes as f64 / (step * unit);
            assert!((1.0..=10.0 + 1e-9).contains(&count), "{bytes}: {count} steps of {step} {name}");
            let digits = step / 10f64.powf(step.log10().floor());
            assert!([1.0, 2.0, 5.0, 10.0].iter().any(|d| (digits - d).abs() < 1e-9), "{bytes}: {step}");
        }
    }

    #[test]
    fn texts_fit_their_boxes_and_keep_their_ends() {
        assert_eq!(fitting("layer1.0.conv1", 200.0), "layer1.0.conv1");
        assert_eq!(fitting("layer1.0.conv1", 10.0 * CHARACTER), "\u{2026}1.0.conv1");
        assert_eq!(fitting("layer1.0.conv1", 2.0 * CHARACTER), "");
        assert_eq!(fitting("layer1.0.conv1", -3.0), "");
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(escape("a<b> & \"c\"\u{1}"), "a&lt;b&gt; &amp; &quot;c&quot;\u{fffd}");
    }
}
