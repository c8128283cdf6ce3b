//! Reads typed values out of a TOML table and turns every mistake into a [`Problem`] with its line.
//!
//! Each getter returns `None` both for a key that is absent and for one that is wrong; what is wrong has
//! then been reported, and [`Reader::clean`] tells whether anything was.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::names;
use super::problem::{LONGEST_TEXT, MAX_PROBLEMS, Problem, Unusable};
use crate::text::shortened;

/// A line of the file, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line(pub u32);

/// The text and its name.
pub struct Source<'a> {
    text: &'a str,
    file: String,
    /// Where lines end: a file may have as many as bytes, and something to say about each.
    ends: Vec<usize>,
}

impl<'a> Source<'a> {
    pub fn new(bytes: &'a [u8], file: &Path) -> Result<Self, Unusable> {
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
        let mut source = Source { text: "", file: file.display().to_string(), ends: ends.collect() };
        match str::from_utf8(bytes) {
            Ok(text) => source.text = text,
            Err(error) => {
                let line = source.line_at(error.valid_up_to());
                let (what, fix) = ("the text is not UTF-8".to_owned(), "save the file as UTF-8".to_owned());
                return Err(Unusable(vec![source.problem(line, None, what, fix)]));
            }
        }
        Ok(source)
    }

    /// The document's root table.
    pub fn document(&self) -> Result<Spanned<DeTable<'a>>, Unusable> {
        DeTable::parse(self.text).map_err(|error| {
            let line = self.line(&error.span().unwrap_or(0..0));
            let what = format!("is not valid TOML: {}", error.message().replace('\n', ", "));
            let fix = "correct this line; nothing of the file is used before".to_owned();
            Unusable(vec![self.problem(line, None, what, fix)])
        })
    }

    pub fn problem(&self, line: Line, service: Option<String>, what: String, fix: String) -> Problem {
        let [what, fix] = [what, fix].map(|text| shortened(text, LONGEST_TEXT));
        let service = service.map(|name| shortened(name, LONGEST_TEXT));
        Problem { file: self.file.clone(), line: line.0, service, what, fix }
    }

    fn line(&self, span: &Range<usize>) -> Line {
        self.line_at(span.start)
    }

    fn line_at(&self, offset: usize) -> Line {
        Line(1 + self.ends.partition_point(|end| *end < offset) as u32)
    }
}

/// A value and the line it stands on.
#[derive(Clone, Copy, Debug)]
pub struct Field<T> {
    pub value: T,
    pub line: Line,
}

/// One table of the file.
pub struct Reader<'p, 'a> {
    source: &'a Source<'a>,
    table: &'a DeTable<'a>,
    /// Where the table begins, for what is missing in it.
    pub line: Line,
    /// The service that problems are blamed on.
    pub service: Option<String>,
    problems: &'p mut Vec<Problem>,
    found: usize,
}

impl<'p, 'a> Reader<'p, 'a> {
    pub fn new(
        source: &'a Source<'a>,
        table: &'a DeTable<'a>,
        line: Line,
        problems: &'p mut Vec<Problem>,
    ) -> Self {
        Reader { source, table, line, service: None, problems, found: 0 }
    }

    /// Reads a table inside this one: what is wrong with it is wrong with this one, too.
    pub fn within<R>(
        &mut self,
        line: Line,
        table: &'a DeTable<'a>,
        read: impl FnOnce(&mut Reader<'_, 'a>) -> R,
    ) -> R {
        let mut inside = Reader {
            source: self.source,
            table,
            line,
            service: self.service.clone(),
            problems: self.problems,
            found: 0,
        };
        let result = read(&mut inside);
        self.found += inside.found;
        result
    }

    /// Whether nothing was wrong with this table so far.
    pub fn clean(&self) -> bool {
        self.found == 0
    }

    /// Whether the key is there at all.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Where the key stands, or where the table begins.
    pub fn line_of(&self, key: &str) -> Line {
        self.get(key).map_or(self.line, |(line, _)| line)
    }

    /// Reports a mistake, as long as there are few.
    pub fn problem(&mut self, line: Line, what: impl Into<String>, fix: impl Into<String>) {
        self.found += 1;
        let (service, what, fix) = match self.problems.len() {
            ..MAX_PROBLEMS => (self.service.clone(), what.into(), fix.into()),
            MAX_PROBLEMS => {
                let what = format!("this mistake and others are not told: there are over {MAX_PROBLEMS}");
                (None, what, "correct the others first".to_owned())
            }
            _ => return,
        };
        self.problems.push(self.source.problem(line, service, what, fix));
    }

    /// Reports every key that is not among the known ones.
    pub fn refuse_unknown(&mut self, known: &[&str], place: &str) {
        for (key, _) in self.table {
            let word = key.get_ref().as_ref();
            if known.contains(&word) {
                continue;
            }
            // Nothing would be told of it; a fix takes long to find, and there may be as many as fit into a file.
            if self.problems.len() > MAX_PROBLEMS {
                self.found += 1;
                return;
            }
            let fix = match names::suggest(word, known) {
                Some(similar) => format!("did you mean {similar}?"),
                None => format!("remove it; {place} knows {}", known.join(", ")),
            };
            self.problem(self.source.line(&key.span()), format!("unknown key {word:?}"), fix);
        }
    }

    /// A string.
    pub fn string(&mut self, key: &str, example: &str) -> Option<Field<&'a str>> {
        let (line, value) = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(Field { value: text, line }),
            other => self.wrong_type(key, line, other, "a string", example),
        }
    }

    /// A string that must be there.
    pub fn required_string(&mut self, key: &str, example: &str) -> Option<Field<&'a str>> {
        if !self.has(key) {
            self.problem(self.line, format!("{key} is missing"), format!("add {example}"));
            return None;
        }
        self.string(key, example)
    }

    /// A list of strings, each with its own line.
    pub fn strings(&mut self, key: &str, example: &str) -> Option<Field<Vec<Field<&'a str>>>> {
        let (line, value) = self.get(key)?;
        let DeValue::Array(array) = value.get_ref() else {
            return self.wrong_type(key, line, value.get_ref(), "a list of strings", example);
        };
        let mut strings = Vec::new();
        for item in array {
            let line = self.source.line(&item.span());
            match item.get_ref() {
                DeValue::String(text) => strings.push(Field { value: text.as_ref(), line }),
                other => return self.wrong_type(key, line, other, "a list of strings", example),
            }
        }
        Some(Field { value: strings, line })
    }

    /// A list of strings, or one string, which is the same as a list of it alone.
    pub fn string_or_strings(&mut self, key: &str, example: &str) -> Option<Field<Vec<Field<&'a str>>>> {
        let (line, value) = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(Field { value: vec![Field { value: text, line }], line }),
            DeValue::Array(_) => self.strings(key, example),
            other => self.wrong_type(key, line, other, "a string or a list of strings", example),
        }
    }

    /// A whole number within the range; `unit` is for people.
    pub fn number(&mut self, key: &str, min: u32, max: u32, unit: &str) -> Option<Field<u32>> {
        let example = format!("{key} = {min}");
        let (line, value) = self.get(key)?;
        let DeValue::Integer(digits) = value.get_ref() else {
            return self.wrong_type(key, line, value.get_ref(), "a whole number", &example);
        };
        let number = i128::from_str_radix(digits.as_str(), digits.radix()).unwrap_or(i128::MAX);
        match u32::try_from(number).ok().filter(|number| (min..=max).contains(number)) {
            Some(value) => Some(Field { value, line }),
            None => {
                let what = format!("{key} = {} is out of range", digits.as_str());
                self.problem(line, what, format!("give {min} to {max} {unit}"));
                None
            }
        }
    }

    /// A list of whole numbers within the range, each told by its own line; `unit` is for people.
    pub fn numbers(&mut self, key: &str, min: u32, max: u32, unit: &str) -> Option<Field<Vec<u32>>> {
        let example = format!("{key} = [{min}]");
        let (line, value) = self.get(key)?;
        let DeValue::Array(array) = value.get_ref() else {
            return self.wrong_type(key, line, value.get_ref(), "a list of whole numbers", &example);
        };
        let mut numbers = Vec::new();
        for item in array {
            let line = self.source.line(&item.span());
            let DeValue::Integer(digits) = item.get_ref() else {
                return self.wrong_type(key, line, item.get_ref(), "a list of whole numbers", &example);
            };
            let number = i128::from_str_radix(digits.as_str(), digits.radix()).unwrap_or(i128::MAX);
            match u32::try_from(number).ok().filter(|number| (min..=max).contains(number)) {
                Some(number) => numbers.push(number),
                None => {
                    let what = format!("{} in {key} is out of range", digits.as_str());
                    self.problem(line, what, format!("give {min} to {max}, {unit}"));
                }
            }
        }
        Some(Field { value: numbers, line })
    }

    /// Yes or no.
    pub fn boolean(&mut self, key: &str, example: &str) -> Option<bool> {
        let (line, value) = self.get(key)?;
        match value.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            other => self.wrong_type(key, line, other, "true or false", example),
        }
    }

    /// One of a few words; the meaning of each stands beside it.
    pub fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)], fix: &str) -> Option<T> {
        let example = words.first().map_or("", |(word, _)| word);
        let Field { value, line } = self.string(key, &format!("{key} = {example:?}"))?;
        let found = words.iter().find(|(word, _)| *word == value).map(|(_, meaning)| *meaning);
        if found.is_none() {
            self.problem(line, format!("{key} = {value:?} is not known"), fix);
        }
        found
    }

    /// A table of its own.
    pub fn table(&mut self, key: &str, example: &str) -> Option<(Line, &'a DeTable<'a>)> {
        let (line, value) = self.get(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some((line, table)),
            other => self.wrong_type(key, line, other, "a table", example),
        }
    }

    /// A table of strings, with the names that they have in it; what is no string is reported and left out.
    pub fn strings_by_name(&mut self, key: &str, example: &str) -> Vec<(&'a str, Field<&'a str>)> {
        let Some((_, table)) = self.table(key, example) else {
            return Vec::new();
        };
        let mut strings = Vec::new();
        for (name, value) in table {
            let (name, line) = (name.get_ref().as_ref(), self.source.line(&name.span()));
            match value.get_ref() {
                DeValue::String(text) => strings.push((name, Field { value: text.as_ref(), line })),
                other => {
                    self.wrong_type::<()>(&format!("{key}.{name}"), line, other, "a string", example);
                }
            }
        }
        strings
    }

    /// A list of tables; what is no table in it is reported and left out.
    pub fn tables(&mut self, key: &str, example: &str) -> Vec<(Line, &'a DeTable<'a>)> {
        let Some((line, value)) = self.get(key) else {
            return Vec::new();
        };
        let DeValue::Array(array) = value.get_ref() else {
            self.wrong_type::<()>(key, line, value.get_ref(), "a list of tables", example);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in array {
            let line = self.source.line(&item.span());
            match item.get_ref() {
                DeValue::Table(table) => tables.push((line, table)),
                other => {
                    self.wrong_type::<()>(key, line, other, "a list of tables", example);
                }
            }
        }
        tables
    }

    fn get(&self, key: &str) -> Option<(Line, &'a Spanned<DeValue<'a>>)> {
        let (found, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some((self.source.line(&found.span()), value))
    }

    fn wrong_type<T>(
        &mut self,
        key: &str,
        line: Line,
        got: &DeValue<'_>,
        wanted: &str,
        example: &str,
    ) -> Option<T> {
        let kind = match got {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.problem(line, format!("{key} is {kind}, not {wanted}"), format!("write {example}"));
        None
    }
}
