//! Tables: columns as wide as their widest cell, with blanks between them.

/// Lays out rows two blanks apart; the last cell of a row is not padded.
pub fn columns(rows: &[Vec<String>]) -> String {
    spaced(rows, 2)
}

/// The same with that many blanks.
pub fn spaced(rows: &[Vec<String>], blanks: usize) -> String {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let mut line = String::new();
            for (i, cell) in row.iter().enumerate() {
                line.push_str(cell);
                if i + 1 < row.len() {
                    let gap = widths[i] - cell.chars().count() + blanks;
                    line.extend(std::iter::repeat_n(' ', gap));
                }
            }
            line
        })
        .collect();
    lines.join("\n")
}

/// A row of borrowed cells.
pub fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_line_up() {
        let rows = [row(["Node", "ID", "DC"]), row(["a", "", "dc1"]), row(["longer", "x", "dc1"])];
        assert_eq!(columns(&rows), "Node    ID  DC\na           dc1\nlonger  x   dc1");
        assert_eq!(spaced(&rows[..1], 3), "Node   ID   DC");
        assert_eq!(columns(&[]), "");
    }
}
