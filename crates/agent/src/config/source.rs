//! Where configuration text comes from: files, folders, fragments.

use std::fs;
use std::path::{Path, PathBuf};

use super::ConfigError;
use super::tree::{self, Tree};

/// Configuration files larger than this are refused instead of read.
const MAX_FILE_BYTES: u64 = 64 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Hcl,
    Json,
}

impl Format {
    pub(crate) fn from_flag(text: &str) -> Result<Option<Self>, ConfigError> {
        match text {
            "" => Ok(None),
            "hcl" => Ok(Some(Format::Hcl)),
            "json" => Ok(Some(Format::Json)),
            _ => Err(ConfigError::one("-config-format must be either 'hcl' or 'json'")),
        }
    }

    fn of_name(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "hcl" => Some(Format::Hcl),
            "json" => Some(Format::Json),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Source {
    pub name: String,
    pub format: Format,
    pub text: String,
}

/// All files a list of paths names. A folder stands for its .hcl and .json
/// files in alphabetical order; folders below it are not looked into.
pub(crate) fn from_paths(
    paths: &[PathBuf],
    format: Option<Format>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Source>, ConfigError> {
    let mut sources = Vec::new();
    for path in paths {
        let shown = path.display();
        let kind = fs::metadata(path)
            .map_err(|e| ConfigError::one(format!("config: Open failed on {shown}. {}", spelled(&e))))?;
        if !kind.is_dir() {
            sources.extend(from_file(path, format, warnings)?);
            continue;
        }
        let readdir = |e: std::io::Error| {
            ConfigError::one(format!("config: Readdir failed on {shown}. {}", spelled(&e)))
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(readdir)? {
            names.push(entry.map_err(readdir)?.path());
        }
        names.sort();
        for file in names {
            // A dangling link is somebody's editor at work, not configuration.
            if fs::metadata(&file).is_ok_and(|m| m.is_file()) {
                sources.extend(from_file(&file, format, warnings)?);
            }
        }
    }
    Ok(sources)
}

fn from_file(
    path: &Path,
    format: Option<Format>,
    warnings: &mut Vec<String>,
) -> Result<Option<Source>, ConfigError> {
    let shown = path.display();
    let Some(format) = format.or_else(|| Format::of_name(path)) else {
        warnings.push(format!(
            "skipping file {shown}, extension must be .hcl or .json, or config format must be set"
        ));
        return Ok(None);
    };
    let failed = |why: String| ConfigError::one(format!("config: ReadFile failed on {shown}: {why}"));
    let size = fs::metadata(path).map_err(|e| failed(spelled(&e)))?.len();
    if size > MAX_FILE_BYTES {
        return Err(failed(format!("larger than {MAX_FILE_BYTES} bytes")));
    }
    let text = fs::read_to_string(path).map_err(|e| failed(spelled(&e)))?;
    Ok(Some(Source { name: shown.to_string(), format, text }))
}

/// The system's words without Rust's "(os error 2)".
fn spelled(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}

/// Reads one source; its errors name the source, its warnings are added.
pub(crate) fn read(source: &Source, warnings: &mut Vec<String>) -> Result<Tree, ConfigError> {
    let failed = |why: String| ConfigError::one(format!("failed to parse {}: {why}", source.name));
    let parsed = match source.format {
        Format::Hcl => hcl::parse(&source.text),
        Format::Json => hcl::parse_json(&source.text),
    };
    let object = parsed.map_err(|e| failed(e.to_string()))?;
    let read = tree::read(&object);
    if !read.type_errors.is_empty() {
        let mut errors = read.type_errors;
        errors.sort();
        let list: String = errors.iter().map(|e| format!("\n* {e}")).collect();
        return Err(failed(format!("{} error(s) decoding:\n{list}", errors.len())));
    }
    if !read.unknown.is_empty() {
        let mut unknown = read.unknown;
        unknown.sort();
        let list: Vec<String> = unknown.iter().map(|k| format!("invalid config key {k}")).collect();
        return Err(failed(several(&list)));
    }
    for warning in read.warnings {
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    Ok(read.tree.unwrap_or_else(Tree::empty))
}

/// Several errors as one text, in the ecosystem's form.
pub(crate) fn several(errors: &[String]) -> String {
    let count = match errors.len() {
        1 => "1 error occurred:".to_owned(),
        n => format!("{n} errors occurred:"),
    };
    let list: String = errors.iter().map(|e| format!("\t* {e}\n")).collect();
    format!("{count}\n{list}\n")
}
