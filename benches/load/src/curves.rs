//! Tables and picture of curves: one panel each, with a logarithmic axis of what grows.

use std::fmt::Write as _;

use crate::chart::STYLE;
use crate::report::number;

/// Costs as one thing grows.
pub struct Curve {
    pub title: &'static str,
    /// Name of what grows.
    pub axis: &'static str,
    pub unit: &'static str,
    pub lines: Vec<Line>,
}

pub struct Line {
    pub name: &'static str,
    pub points: Vec<(u32, f64)>,
}

const WIDTH: f64 = 860.0;
const PANEL: (f64, f64) = (430.0, 250.0);
/// Space around the lines of a panel: left, right, above, below.
const AROUND: (f64, f64, f64, f64) = (50.0, 24.0, 64.0, 40.0);
const CLASSES: [&str; 2] = ["first", "second"];
const LINES: &str = ".line { fill: none; stroke-width: 2.5 } .first { stroke: #2c7a4b } .second { stroke: #bc6a2e } \
                     @media (prefers-color-scheme: dark) { .first { stroke: #46a869 } .second { stroke: #d98548 } }";

/// One table for each curve.
pub fn tables(curves: &[Curve]) -> String {
    let mut text = String::new();
    for curve in curves {
        let _ = writeln!(text, "**{}** ({})\n", curve.title, curve.unit);
        let points = curve.lines[0].points.iter();
        let _ = writeln!(
            text,
            "| {} |{}",
            curve.axis,
            points.map(|(x, _)| format!(" {} |", count(*x))).collect::<String>()
        );
        let _ = writeln!(text, "|---|{}", "---|".repeat(curve.lines[0].points.len()));
        for line in &curve.lines {
            let cells: String = line.points.iter().map(|(_, y)| format!(" {} |", number(*y))).collect();
            let _ = writeln!(text, "| {} |{cells}", line.name);
        }
        text.push('\n');
    }
    text
}

/// All curves, two in a row.
pub fn draw(curves: &[Curve]) -> String {
    let height = PANEL.1 * curves.len().div_ceil(2) as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"CPU of a request as the deployment grows\">\n<style>{STYLE} {LINES}</style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>\n"
    );
    for (index, curve) in curves.iter().enumerate() {
        let (column, row) = (index % 2, index / 2);
        panel(curve, (column as f64 * PANEL.0, row as f64 * PANEL.1), &mut svg);
    }
    svg + "</svg>\n"
}

fn panel(curve: &Curve, (left, top): (f64, f64), svg: &mut String) {
    let (begin, end) = (left + AROUND.0, left + PANEL.0 - AROUND.1);
    let (high, low) = (top + AROUND.2, top + PANEL.1 - AROUND.3);
    let all = || curve.lines.iter().flat_map(|line| &line.points);
    let scale = |x: u32| f64::from(x).ln();
    let (least, most) =
        all().fold((f64::MAX, f64::MIN), |(least, most), (x, _)| (least.min(scale(*x)), most.max(scale(*x))));
    let top_value = all().fold(0.0, |top: f64, (_, y)| top.max(*y)).max(f64::MIN_POSITIVE);
    let x_at = |x: u32| begin + (scale(x) - least) / (most - least).max(f64::MIN_POSITIVE) * (end - begin);
    let y_at = |y: f64| low - y / top_value * (low - high);
    let _ = writeln!(svg, "<text x=\"{begin}\" y=\"{}\">{}</text>", top + 24.0, curve.title);
    let _ = writeln!(svg, "<text class=\"small\" x=\"{begin}\" y=\"{}\">{}</text>", top + 42.0, curve.unit);
    let _ = writeln!(svg, "<line class=\"axis\" x1=\"{begin}\" x2=\"{end}\" y1=\"{low}\" y2=\"{low}\"/>");
    for (x, _) in &curve.lines[0].points {
        let (at, below) = (x_at(*x), low + 18.0);
        let _ = writeln!(
            svg,
            "<text class=\"small\" x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{}</text>",
            count(*x)
        );
    }
    for (line, class) in curve.lines.iter().zip(CLASSES) {
        let points: Vec<String> = line.points.iter().map(|(x, y)| format!("{:.1},{:.1}", x_at(*x), y_at(*y))).collect();
        let _ = writeln!(svg, "<polyline class=\"line {class}\" points=\"{}\"/>", points.join(" "));
        for (x, y) in &line.points {
            let (at, above) = (x_at(*x), y_at(*y) - 8.0);
            let text = number(*y);
            let _ = writeln!(
                svg,
                "<text class=\"small\" x=\"{at:.1}\" y=\"{above:.1}\" text-anchor=\"middle\">{text}</text>"
            );
        }
    }
    if curve.lines.len() > 1 {
        for (index, (line, class)) in curve.lines.iter().zip(CLASSES).enumerate() {
            let (at, y) = (begin + 8.0, low - 32.0 + 16.0 * index as f64);
            let _ =
                writeln!(svg, "<line class=\"line {class}\" x1=\"{at}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\"/>", at + 18.0);
            let _ = writeln!(svg, "<text class=\"small\" x=\"{}\" y=\"{}\">{}</text>", at + 24.0, y + 4.0, line.name);
        }
    }
}

/// A number with thousands as "10 k" and millions as "1 M".
fn count(number: u32) -> String {
    match number {
        1_000_000.. => format!("{} M", number / 1_000_000),
        1_000.. => format!("{} k", number / 1_000),
        _ => number.to_string(),
    }
}
