//! Mail to measure with: plain, as most of it is, and the worst that the language allows.

/// Octets of a message as it is sent, without the final dot.
pub const MESSAGE: usize = 4096;

/// A header as a message has after two servers and a list, with LF line ends.
pub const HEADER: &str = "\
Received: from relay.example.net (relay.example.net [192.0.2.17])\n\
\tby mx.example.org with ESMTPS id 1ABCDE-000123-4F\n\
\tfor <ann@example.org>; Mon, 23 Nov 2026 10:00:01 +0000\n\
Received: from laptop.example.net ([198.51.100.23])\n\
\tby relay.example.net with ESMTPSA id 0PQRST-000042-1A;\n\
\tMon, 23 Nov 2026 10:00:00 +0000\n\
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.net; s=mail;\n\
\th=from:to:subject:date:message-id; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;\n\
\tb=dzdVyOfAKCdLXdJOc9G2q8LoXSlEniSbav+yuU4zGeeruD00lszZVoG4ZHRNiYzR6oGqPDFoXjCvtQ\n\
\tWqeRVhbTkBd0pKpMk2hGkwXIB1GgZ9kUqkcYtAuDLs3lTkHNvVVLLA==\n\
From: =?utf-8?q?Zo=C3=AB?= <zoe@example.net>\n\
To: Ann <ann@example.org>, bob@example.com\n\
Cc: list@lists.example.com\n\
Subject: The minutes of last Monday\n\
Date: Mon, 23 Nov 2026 10:00:00 +0000\n\
Message-ID: <20261123100000.4711@laptop.example.net>\n\
MIME-Version: 1.0\n\
Content-Type: text/plain; charset=utf-8\n\
List-Id: <list.lists.example.com>\n\
\n";

/// Lines of commands as servers send them, with CR LF.
pub const COMMANDS: [&str; 7] = [
    "EHLO relay.example.net\r\n",
    "MAIL FROM:<bounces+ann=example.org@lists.example.net> SIZE=4096 BODY=8BITMIME\r\n",
    "RCPT TO:<ann.other@example.org> NOTIFY=FAILURE,DELAY ORCPT=rfc822;ann@example.org\r\n",
    "RCPT TO:<bob@example.org>\r\n",
    "DATA\r\n",
    "RSET\r\n",
    "QUIT\r\n",
];

/// What is sent.
pub enum Sample {
    /// A message of [`MESSAGE`] octets.
    Plain,
    /// This one, with CR LF, below a field with the number.
    Under(Vec<u8>),
}

/// Octets of the body that is signed.
pub const SIGNED: usize = 10 * 1024;

/// A line of a body.
pub const LINE: &str = "a line of text as people write it, so that it ends before a screen\n";

const FIELDS: [&str; 5] = [
    "From: <sender@client.example>\n",
    "To: <u@bench.test>\n",
    "Subject: one of many\n",
    "Date: Mon, 23 Nov 2026 10:00:00 +0000\n",
    "Message-ID: <bench@client.example>\n",
];

/// Fields of a header, each by name and whole, with LF.
pub fn fields() -> [(&'static str, &'static str); 5] {
    FIELDS.map(|field| (field.split(':').next().unwrap_or_default(), field))
}

impl Sample {
    /// A message with this number, with CR LF, and nothing that would have to be stuffed.
    pub fn message(&self, number: u64) -> Vec<u8> {
        let mut octets = format!("{NUMBER}{number}@client.example\r\n").into_bytes();
        match self {
            Sample::Under(rest) => octets.extend_from_slice(rest),
            Sample::Plain => {
                octets.extend(FIELDS.concat().replace('\n', "\r\n").bytes());
                octets.extend_from_slice(b"\r\n");
                octets.extend(text(&LINE.replace('\n', "\r\n")));
                octets.truncate(MESSAGE - 2);
                octets.extend_from_slice(b"\r\n");
            }
        }
        octets
    }
}

/// The plain one.
pub fn message(number: u64) -> Vec<u8> {
    Sample::Plain.message(number)
}

const NUMBER: &str = "X-Number: bench.";

/// The number of a message as it was kept, whatever stands above it.
pub fn number(octets: &[u8]) -> Option<u64> {
    let start = memchr::memmem::find(octets, NUMBER.as_bytes())? + NUMBER.len();
    let digits = octets[start..].split(|octet| *octet == b'@').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// One line after the other, [`MESSAGE`] octets or a little more.
pub fn text(line: &str) -> Vec<u8> {
    lines(line, MESSAGE)
}

/// The same of so many octets.
pub fn lines(line: &str, octets: usize) -> Vec<u8> {
    line.repeat(octets.div_ceil(line.len())).into_bytes()
}
