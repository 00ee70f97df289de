//! Settings that know where they were said, so that what is wrong with them is told of that place.

use std::error::Error as _;
use std::ffi::OsStr;

use clap::builder::{
    BoolishValueParser, EnumValueParser, PathBufValueParser, PossibleValue, RangedU64ValueParser,
    StringValueParser, TypedValueParser,
};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, Command, ValueEnum};
use serde::{Deserialize, Deserializer};

/// What is wrong with a text that says nothing.
pub(super) const EMPTY: &str = "is empty; leave it out or name one";

/// A value, and where it was said.
#[derive(Clone, Debug)]
pub struct Said<T> {
    /// The value.
    pub value: T,
    pub(super) at: At,
}

/// Where a value was said.
#[derive(Clone, Debug)]
pub(super) enum At {
    /// In a flag or a variable, as it is called.
    Typed(String),
    /// From this byte of the settings file on.
    File(usize),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Said<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = toml::Spanned::<T>::deserialize(deserializer)?;
        Ok(Said { at: At::File(spanned.span().start), value: spanned.into_inner() })
    }
}

/// A parser that notes where its value was said.
#[derive(Clone, Debug)]
pub(super) struct Saying<P>(P);

pub(super) fn path() -> Saying<PathBufValueParser> {
    Saying(PathBufValueParser::new())
}

pub(super) fn text() -> Saying<StringValueParser> {
    Saying(StringValueParser::new())
}

pub(super) fn number<T: TryFrom<u64>>() -> Saying<RangedU64ValueParser<T>> {
    Saying(RangedU64ValueParser::new())
}

pub(super) fn switch() -> Saying<BoolishValueParser> {
    Saying(BoolishValueParser::new())
}

pub(super) fn choice<T: ValueEnum + Clone + Send + Sync + 'static>() -> Saying<EnumValueParser<T>> {
    Saying(EnumValueParser::new())
}

impl<P: TypedValueParser> TypedValueParser for Saying<P> {
    type Value = Said<P::Value>;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, clap::Error> {
        self.parse_ref_(command, arg, value, ValueSource::CommandLine)
    }

    fn parse_ref_(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<Self::Value, clap::Error> {
        let variable = arg.and_then(Arg::get_env).filter(|_| source == ValueSource::EnvVariable);
        let place = match variable {
            Some(name) => name.to_string_lossy().into_owned(),
            None => format!("--{}", arg.and_then(Arg::get_long).unwrap_or_default()),
        };
        let wrong = |why: String| {
            let message = format!("{place}: {why}\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        };
        if value.is_empty() {
            return Err(wrong(EMPTY.to_owned()));
        }
        match self.0.parse_ref(command, arg, value) {
            Ok(value) => Ok(Said { value, at: At::Typed(place) }),
            // It would speak of the flag.
            Err(error) if variable.is_some() => {
                Err(wrong(format!("`{}`: {}", value.to_string_lossy(), self.reason(&error))))
            }
            Err(error) => Err(error),
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        self.0.possible_values()
    }
}

impl<P: TypedValueParser> Saying<P> {
    fn reason(&self, error: &clap::Error) -> String {
        let choices = self.0.possible_values().map(|choices| {
            let shown = choices.filter(|choice| !choice.is_hide_set());
            let names: Vec<String> = shown.map(|choice| choice.get_name().to_owned()).collect();
            format!("choose {}", names.join(", "))
        });
        let source = || error.source().map(ToString::to_string);
        choices.or_else(source).unwrap_or_else(|| error.kind().to_string())
    }
}
