//! Figures in columns, as they are found: who watches sees the first row before the last is measured.

use std::io::{self, Write};

pub struct Cell {
    pub title: &'static str,
    /// In characters. The first column begins at the left, the others end at the right.
    pub width: usize,
}

/// Says a line. Fails where nobody reads any more, as behind `head`.
pub fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", line.trim_end())?;
    out.flush()
}

pub fn head(cells: &[Cell]) -> io::Result<()> {
    let titles: Vec<String> = cells.iter().map(|cell| cell.title.to_owned()).collect();
    row(cells, &titles)
}

pub fn row(cells: &[Cell], texts: &[String]) -> io::Result<()> {
    let mut line = String::new();
    for (index, (cell, text)) in cells.iter().zip(texts).enumerate() {
        let width = cell.width;
        line.push_str(&match index {
            0 => format!("{text:<width$}"),
            _ => format!("{text:>width$}"),
        });
    }
    say(&line)
}

/// The one in the middle; of an even number the higher. Zero of none.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
