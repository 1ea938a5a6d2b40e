//! The picture: a bar for each ratio that has a goal, and a mark at the goal.

use std::fmt::Write as _;

use crate::report::{Comparison, number};

const WIDTH: f64 = 860.0;
/// Where bars begin and where the longest ends.
const LEFT: f64 = 330.0;
const RIGHT: f64 = 730.0;
const TOP: f64 = 76.0;
const STEP: f64 = 34.0;
const BAR: f64 = 18.0;

/// Colours for light pages, and for dark ones.
pub const STYLE: &str = "text { font: 14px system-ui, sans-serif; fill: #1f2328 } .small { font-size: 12px; fill: #59636e } \
                     .axis { stroke: #d1d9e0 } .over { fill: #bc6a2e } .met { fill: #2c7a4b } \
                     .goal { stroke: #1f2328; stroke-width: 3 } .page { fill: #ffffff } \
                     @media (prefers-color-scheme: dark) { text { fill: #f0f6fc } .small { fill: #9198a1 } \
                     .axis { stroke: #3d444d } .over { fill: #d98548 } .met { fill: #46a869 } .goal { stroke: #f0f6fc } \
                     .page { fill: #0d1117 } }";

/// Draws the comparisons that have a goal.
pub fn draw(comparisons: &[Comparison]) -> String {
    let bars: Vec<(&Comparison, f64)> = comparisons.iter().filter_map(|bar| Some((bar, bar.goal?))).collect();
    let longest = bars.iter().flat_map(|(bar, goal)| [bar.ratio.median, *goal]).fold(1.0, f64::max);
    let x = |ratio: f64| LEFT + ratio / longest * (RIGHT - LEFT);
    let height = TOP + STEP * bars.len() as f64 + 16.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"CPU of a request in relation to its floor\">\n<style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         <text x=\"16\" y=\"28\">CPU of a request, as a multiple of its floor (shorter is better)</text>\n\
         <text class=\"small\" x=\"16\" y=\"50\">The floor is named below each request. The mark is the goal.</text>\n"
    );
    let ends = height - 12.0;
    let _ = writeln!(svg, "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{LEFT}\" y1=\"{}\" y2=\"{ends}\"/>", TOP - 8.0);
    let _ =
        writeln!(svg, "<line class=\"axis\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{1}\" y2=\"{ends}\"/>", x(1.0), TOP - 8.0);
    let _ = writeln!(svg, "<text class=\"small\" x=\"{:.1}\" y=\"{}\">1</text>", x(1.0) - 3.0, TOP - 12.0);
    for (index, (bar, goal)) in bars.iter().enumerate() {
        let y = TOP + STEP * index as f64;
        let (ratio, row) = (bar.ratio.median, &bar.row);
        let class = if ratio <= *goal { "met" } else { "over" };
        let (name, floor) = (bar.name(), bar.floor.request());
        let label = format!("{name}, {}, {}", row.shape, row.value());
        let _ = writeln!(svg, "<text x=\"16\" y=\"{}\">{label}</text>", y + 9.0);
        let _ = writeln!(svg, "<text class=\"small\" x=\"16\" y=\"{}\">floor: {floor}</text>", y + 23.0);
        let width = x(ratio) - LEFT;
        let _ = writeln!(svg, "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\"/>");
        let (goal_x, above, below) = (x(*goal), y - 4.0, y + BAR + 4.0);
        let _ =
            writeln!(svg, "<line class=\"goal\" x1=\"{goal_x:.1}\" x2=\"{goal_x:.1}\" y1=\"{above}\" y2=\"{below}\"/>");
        let end = x(ratio.max(*goal)) + 10.0;
        let _ = writeln!(svg, "<text x=\"{end:.1}\" y=\"{}\">{} (goal {goal})</text>", y + 14.0, number(ratio));
    }
    svg + "</svg>\n"
}
