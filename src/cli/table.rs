//! Plain-text tables with two spaces between the columns.

/// Formats pairs of name and value, a line each.
pub(super) fn facts(rows: &[(&str, String)]) -> String {
    let wide = rows.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    rows.iter().map(|(name, fact)| format!("{name}{}  {fact}\n", " ".repeat(wide - width(name)))).collect()
}

/// Lays out `rows` under `header`, the first column left-aligned, the others right-aligned. Every
/// line ends with a newline, none with spaces.
pub(super) fn aligned(header: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..header.len())
        .map(|column| rows.iter().map(|row| width(&row[column])).fold(width(header[column]), usize::max))
        .collect();
    let header: Vec<String> = header.iter().map(|&cell| cell.to_owned()).collect();
    std::iter::once(&header).chain(rows).map(|row| line(row, &widths)).collect()
}

/// Lays out `rows` under `header`, every column left-aligned.
pub(super) fn columns(header: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..header.len())
        .map(|column| rows.iter().map(|row| width(&row[column])).fold(width(header[column]), usize::max))
        .collect();
    let header: Vec<String> = header.iter().map(|&cell| cell.to_owned()).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, wide)| format!("{cell}{}", " ".repeat(wide - width(cell))));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    std::iter::once(&header).chain(rows).map(line).collect()
}

fn line(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (column, (cell, &wide)) in row.iter().zip(widths).enumerate() {
        let padding = " ".repeat(wide - width(cell));
        match column {
            0 => line += &format!("{cell}{padding}"),
            _ => line += &format!("  {padding}{cell}"),
        }
    }
    line.truncate(line.trim_end().len());
    line + "\n"
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_line_up_at_their_last_digit() {
        let rows = [vec!["get".to_owned(), "7 µs".to_owned()], vec!["invalidate".to_owned(), "1.25 ms".to_owned()]];
        assert_eq!(aligned(&["OP", "P50"], &rows), "OP              P50\nget            7 µs\ninvalidate  1.25 ms\n");
    }
}
