//! Paths of files that may be left empty.

use std::path::PathBuf;

use crate::config::reader::{Declaration, Reader};
use crate::config::setting::SettingKind;

/// Reads an optional path. An empty one is absent.
pub(super) fn optional_path(reader: &mut Reader, path: &str, doc: &'static str) -> Option<PathBuf> {
    let parse = |text: &str| match text {
        "" => Ok(None),
        text if text.contains(char::is_control) => Err("must be the path of a file".to_owned()),
        text => Ok(Some(PathBuf::from(text))),
    };
    let show = |value: &Option<PathBuf>| value.as_ref().map(|path| path.display().to_string());
    let declaration = Declaration { path, kind: SettingKind::Path, expects: "path of a file".to_owned(), doc };
    reader.read(declaration, None.into(), parse, show)
}
