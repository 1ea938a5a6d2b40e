//! Parser of configuration files, TOML or YAML by extension: paths and leaves.

use std::path::Path;

use config::{ConfigError, FileFormat, Format, Value, ValueKind};

use super::raw_value::ValueShape;

/// Raw value at a path.
pub struct Leaf {
    /// Path, keys joined with dots.
    pub path: String,
    /// The value as text.
    pub text: String,
    /// Syntax of the value.
    pub shape: ValueShape,
}

/// Reads the leaves of a file. The error repeats nothing of the content, which may hold secrets.
pub fn read(path: &Path) -> Result<Vec<Leaf>, String> {
    let format = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => FileFormat::Toml,
        Some("yaml" | "yml") => FileFormat::Yaml,
        _ => return Err("must be a .toml, .yaml or .yml file".into()),
    };
    let text = std::fs::read_to_string(path).map_err(|error| format!("must be a readable file: {error}"))?;
    let root = format.parse(None, &text).map_err(|error| syntax(error.as_ref()))?;
    let mut leaves = Vec::new();
    flatten("", root, &mut leaves);
    leaves.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(leaves)
}

fn flatten(prefix: &str, table: config::Map<String, Value>, leaves: &mut Vec<Leaf>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        let (text, shape) = match value.kind {
            ValueKind::Table(table) if !table.is_empty() => {
                flatten(&path, table, leaves);
                continue;
            }
            ValueKind::Table(_) => (String::new(), ValueShape::Section),
            ValueKind::Array(_) => (json(value).to_string(), ValueShape::List),
            ValueKind::Nil => (String::new(), ValueShape::Nothing),
            ValueKind::String(text) => (text, ValueShape::Text),
            number => (number.to_string(), ValueShape::Bare),
        };
        leaves.push(Leaf { path, text, shape });
    }
}

fn json(value: Value) -> serde_json::Value {
    match value.kind {
        ValueKind::Array(items) => items.into_iter().map(json).collect(),
        ValueKind::Table(table) => table.into_iter().map(|(key, value)| (key, json(value))).collect(),
        ValueKind::Nil => serde_json::Value::Null,
        ValueKind::Boolean(value) => value.into(),
        ValueKind::I64(number) => number.into(),
        ValueKind::U64(number) => number.into(),
        ValueKind::Float(number) => number.into(),
        ValueKind::String(text) => text.into(),
        // Too wide for any number in a list: kept as written.
        wide => wide.to_string().into(),
    }
}

/// Formats a parser's error, without the line of the file it shows. A message without a position
/// may quote the content, and is replaced.
fn syntax(error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    if error.is::<ConfigError>() {
        return "must have settings by name at its top level".into();
    }
    let shown = |line: &&str| !line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).starts_with('|');
    let message = error.to_string();
    let message: Vec<&str> = message.lines().filter(shown).collect();
    match message.join(": ") {
        message if message.contains(" line ") => format!("must be valid: {message}"),
        _ => "must be valid: a key or number in it cannot be read".into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;

    use super::*;

    fn content(extension: &str, text: &str) -> Result<Vec<Leaf>, String> {
        let mut file = tempfile::Builder::new().suffix(extension).tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        read(file.path())
    }

    #[test]
    fn tables_become_paths() {
        let leaves = content(".toml", "top = 1_000\n[a]\nb = 'text'\nlist = [1]\n[a.c]\nd = true\n[empty]\n").unwrap();
        let seen: Vec<_> = leaves.iter().map(|leaf| (leaf.path.as_str(), leaf.text.as_str(), leaf.shape)).collect();
        assert_eq!(
            seen,
            [
                ("a.b", "text", ValueShape::Text),
                ("a.c.d", "true", ValueShape::Bare),
                ("a.list", "[1]", ValueShape::List),
                ("empty", "", ValueShape::Section),
                ("top", "1000", ValueShape::Bare),
            ]
        );
    }

    #[test]
    fn an_empty_file_sets_nothing() {
        for (extension, text) in [(".toml", ""), (".toml", "# nothing\n"), (".yaml", ""), (".yml", "# nothing\n")] {
            assert!(content(extension, text).unwrap().is_empty(), "{extension} {text:?}");
        }
    }

    #[test]
    fn a_broken_file_is_refused_without_its_content() {
        for (extension, text) in [
            (".toml", "[redis]\npassword = hunter2\n"),
            (".toml", "[redis]\npassword = \"hunter2\n"),
            (".toml", "a = 99999999999999999999"),
            (".yaml", "redis: [hunter2"),
            (".yaml", "hunter2"),
            (".yaml", "redis:\n  password: {{ hunter2 }}"),
            (".yaml", "a: 1\n---\nb: 2"),
            (".yaml", "a: 1\na: 2"),
            (".ini", "a = hunter2"),
        ] {
            let refusal = content(extension, text).err().expect(text);
            assert!(!refusal.contains("hunter2") && !refusal.contains('\n'), "{refusal}");
        }
        assert!(content(".toml", "a = \n").err().unwrap().contains("line 1"));
    }
}
