//! What rustls-webpki, by which ztunnel judges, says of each question on standard
//! input, one a line: `client|server SECONDS ROOT,ROOT,... LEAF,CERT,...` with the
//! certificates' DER in hexadecimal digits. One line answers each: `yes`, or `no`
//! and the error.
//!
//! A root that does not parse is passed over, as RootCertStore's
//! add_parsable_certificates does for ztunnel.
use std::io::{BufRead, Write};
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{anchor_from_trusted_cert, EndEntityCert, KeyUsage, ALL_VERIFICATION_ALGS};

fn certificates(words: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    words.split(',').map(|hex| {
        let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>().ok_or("not hexadecimal digits")?;
        if digits.is_empty() || digits.len() % 2 != 0 {
            return Err("half a byte, or none".to_string());
        }
        Ok(CertificateDer::from(digits.chunks(2).map(|two| two[0] << 4 | two[1]).collect::<Vec<u8>>()))
    }).collect()
}

/// Err is for a question that makes no sense, Ok for the answer.
fn answer(question: &str) -> Result<Result<(), webpki::Error>, String> {
    let words: Vec<&str> = question.split_whitespace().collect();
    let [usage, at, roots, chain] = words[..] else {
        return Err(format!("{} words", words.len()));
    };
    let usage = match usage {
        "client" => KeyUsage::client_auth(),
        "server" => KeyUsage::server_auth(),
        _ => return Err(format!("usage {usage}")),
    };
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at.parse().map_err(|e| format!("{at}: {e}"))?));
    let (roots, chain) = (certificates(roots)?, certificates(chain)?);
    let anchors: Vec<_> = roots.iter().filter_map(|root| anchor_from_trusted_cert(root).ok()).collect();
    Ok(EndEntityCert::try_from(&chain[0]).and_then(|leaf| {
        leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &chain[1..], at, usage, None, None).map(|_| ())
    }))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for question in std::io::stdin().lock().lines() {
        match answer(&question?)? {
            Ok(()) => writeln!(out, "yes")?,
            Err(why) => writeln!(out, "no {why:?}")?,
        }
    }
    out.flush()?;
    Ok(())
}
