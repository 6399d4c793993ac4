//! A line of the log as one JSON object, written straight into the line's buffer.
//!
//! The formatter of `tracing-subscriber` builds a tree for the span and parses what it wrote before; a line is written
//! for every request at the OAuth endpoints, so it shows. This one writes each field once. Its shape is the same:
//! `timestamp`, `level`, the event's fields, `target`, and the innermost span with its name.

use std::fmt::{self, Write as _};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
    registry::LookupSpan,
};

/// Both halves: what a span keeps of its fields (members without braces), and the whole line.
#[derive(Debug, Clone, Copy)]
pub(super) struct JsonLine;

impl<'writer> FormatFields<'writer> for JsonLine {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut members = Members { out: &mut writer, is_first: true, outcome: Ok(()) };
        fields.record(&mut members);
        members.outcome
    }

    /// A span whose fields are recorded later, one after another.
    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &tracing::span::Record<'_>,
    ) -> fmt::Result {
        let is_first = current.fields.is_empty();
        let mut writer = current.as_writer();
        let mut members = Members { out: &mut writer, is_first, outcome: Ok(()) };
        fields.record(&mut members);
        members.outcome
    }
}

impl<S> FormatEvent<S, Self> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(&self, context: &FmtContext<'_, S, Self>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        out.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut out)?;
        let about = event.metadata();
        write!(out, "\",\"level\":\"{}\"", level(*about.level()))?;
        let mut members = Members { out: &mut out, is_first: false, outcome: Ok(()) };
        event.record(&mut members);
        members.outcome?;
        out.write_str(",\"target\":")?;
        text(&mut out, about.target())?;
        if let Some(span) = context.lookup_current() {
            out.write_str(",\"span\":{")?;
            let kept = span.extensions();
            if let Some(fields) = kept.get::<FormattedFields<Self>>().filter(|kept| !kept.fields.is_empty()) {
                out.write_str(&fields.fields)?;
                out.write_char(',')?;
            }
            out.write_str("\"name\":")?;
            text(&mut out, span.name())?;
            out.write_char('}')?;
        }
        out.write_str("}\n")
    }
}

const fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARN",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

/// Writes fields as members of an object.
struct Members<'a, 'w> {
    out: &'a mut Writer<'w>,
    is_first: bool,
    outcome: fmt::Result,
}

impl Members<'_, '_> {
    fn member(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.outcome.is_ok() {
            let comma = if std::mem::take(&mut self.is_first) { "" } else { "," };
            let name = field.name();
            let name = name.strip_prefix("r#").unwrap_or(name);
            self.outcome = self.out.write_str(comma).and_then(|()| text(self.out, name));
            self.outcome = self.outcome.and_then(|()| self.out.write_char(':')).and_then(|()| value(self.out));
        }
    }
}

impl Visit for Members<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.member(field, |out| {
            out.write_char('"')?;
            write!(Escaped(out), "{value:?}")?;
            out.write_char('"')
        });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field, |out| text(out, value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, |out| out.write_str(if value { "true" } else { "false" }));
    }
}

fn text(out: &mut Writer<'_>, text: &str) -> fmt::Result {
    out.write_char('"')?;
    Escaped(out).write_str(text)?;
    out.write_char('"')
}

/// RFC 8259 §7.
struct Escaped<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|b| b < 0x20 || matches!(b, b'"' | b'\\' | 0x7f)) {
            let (plain, special) = rest.split_at(at);
            self.0.write_str(plain)?;
            // All of these are one byte long.
            match special.as_bytes()[0] {
                b'"' => self.0.write_str("\\\"")?,
                b'\\' => self.0.write_str("\\\\")?,
                b'\n' => self.0.write_str("\\n")?,
                b'\r' => self.0.write_str("\\r")?,
                b'\t' => self.0.write_str("\\t")?,
                other => write!(self.0, "\\u{other:04x}")?,
            }
            rest = &special[1..];
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_one_json_object_whatever_is_in_it() {
        let kept = Kept::default();
        let lines = tracing_subscriber::fmt().fmt_fields(JsonLine).event_format(JsonLine).with_max_level(Level::TRACE);
        let writer = kept.clone();
        tracing::subscriber::with_default(lines.with_writer(move || writer.clone()).finish(), || {
            let span = tracing::info_span!("request", request_id = "a\"b", later = tracing::field::Empty);
            span.record("later", 7);
            let _inside = span.enter();
            let none: Option<&str> = None;
            tracing::warn!(cause = %"two\nlines\u{1b}[31m \\", list = ?["x"], n = -1, yes = true, none, "told {}", 1);
        });
        let line = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(line.matches('\n').count(), 1, "one line");
        let mut line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(line.as_object_mut().unwrap().remove("timestamp").unwrap().as_str().unwrap().ends_with('Z'));
        assert_eq!(
            line,
            serde_json::json!({
                "level": "WARN", "message": "told 1", "cause": "two\nlines\u{1b}[31m \\", "list": "[\"x\"]", "n": -1,
                "yes": true, "target": "vestibule::telemetry::line::tests",
                "span": { "request_id": "a\"b", "later": 7, "name": "request" },
            })
        );
    }
}
