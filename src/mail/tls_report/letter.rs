//! A report as mail (RFC 8460 §5.3): multipart/report with words for people and the compressed JSON. Pure: moments,
//! names and random bits are passed in. Lines end in LF.

use super::{TlsReport, WrittenReport};
use crate::limits::reports::REPORT_MEDIA;
use crate::mail::address::Mailbox;
use crate::mail::trace_fields::date;
use base64ct::{Base64, Encoding};
use jiff::ZonedDateTime;

/// Octets of one line of base64, before encoding (RFC 2045 §6.8: 76 characters).
const LINE: usize = 57;

/// One report for one address.
pub struct ReportLetter<'a> {
    pub report: &'a TlsReport<'a>,
    pub written: &'a WrittenReport,
    /// [`WrittenReport::json`], compressed by gzip.
    pub packed: &'a [u8],
    pub to: &'a Mailbox,
    /// The letter's own id, of letters and digits.
    pub id: &'a str,
    /// 64 bits that nobody can foresee, for the boundary.
    pub random: u64,
    pub date: &'a ZonedDateTime,
}

impl ReportLetter<'_> {
    /// The whole message.
    pub fn write(&self) -> String {
        let boundary = format!("=_{}_{:016x}", self.id, self.random);
        let mut text = self.header(&boundary);
        text.push_str(&format!(
            "\n--{boundary}\nContent-Type: text/plain; charset=us-ascii\n\
             Content-Transfer-Encoding: 7bit\n\n{}\n\
             --{boundary}\nContent-Type: {REPORT_MEDIA}\n\
             Content-Transfer-Encoding: base64\n\
             Content-Disposition: attachment;\n\tfilename=\"{}\"\n\n",
            self.words(),
            self.written.file
        ));
        for line in self.packed.chunks(LINE) {
            text.push_str(&Base64::encode_string(line));
            text.push('\n');
        }
        text.push_str(&format!("\n--{boundary}--\n"));
        text
    }

    /// Whether it needs SMTPUTF8 (RFC 6531).
    pub fn is_utf8(&self) -> bool {
        !self.to.to_string().is_ascii() || !self.report.contact.to_string().is_ascii()
    }

    /// TLS-Required says to hosts on the way what RFC 8460 §5.3.1 asks of us: no policy keeps a report back that
    /// may be about this policy (RFC 8689 §3).
    fn header(&self, boundary: &str) -> String {
        let (report, submitter) = (self.report, self.report.submitter());
        format!(
            "From: <{}>\n\
             To: <{}>\n\
             Subject: Report Domain: {}\n\tSubmitter: {submitter}\n\tReport-ID: <{}>\n\
             Date: {}\n\
             Message-ID: <{}@{}>\n\
             Auto-Submitted: auto-generated\n\
             TLS-Required: No\n\
             TLS-Report-Domain: {}\n\
             TLS-Report-Submitter: {submitter}\n\
             MIME-Version: 1.0\n\
             Content-Type: multipart/report; report-type=\"tlsrpt\";\n\
             \tboundary=\"{boundary}\"\n",
            report.contact,
            self.to,
            report.domain,
            self.written.id,
            date(self.date),
            self.id,
            report.hostname,
            report.domain,
        )
    }

    fn words(&self) -> String {
        let (good, failed) = self.report.counts.totals();
        let TlsReport { domain, day, hostname, .. } = self.report;
        format!(
            "This is an aggregate TLS report from {}.\n\n\
             On {day} (UTC) {hostname} made {} connections for mail to {domain}.\n\
             TLS was as it has to be on {good} of them, and failed on {failed}.\n\
             The attachment says how (RFC 8460).\n",
            self.report.submitter(),
            good.saturating_add(failed),
        )
    }
}
