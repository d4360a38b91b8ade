use super::super::{Detectors, PromptRule};
use super::*;
use crate::credential::Secret;

fn listener(prompts: Prompts, keep: Option<usize>) -> Listener {
    let key = TagKey::new(&Secret::new(b"tests".to_vec()));
    let masker = Masker::new(Detectors::default(), key);
    Listener::new(Privacy::new(masker, PromptRule { prompts, block: [Kind::CREDIT_CARD].into() }, None), keep)
}

fn said(listener: &Listener, content: &serde_json::Value) -> Said {
    let body = serde_json::json!({"model": "m", "messages": [{"role": "user", "content": content}]}).to_string();
    listener.request(body.as_bytes(), Shape::Message).unwrap()
}

const CARD: &str = "4111 1111 1111 1111";

#[test]
fn a_card_stops_a_request_and_an_address_does_not() {
    let listener = listener(Prompts::Block, None);
    let found = said(&listener, &serde_json::json!(format!("mail jane@example.com, pay with {CARD}")));
    assert_eq!(found.blocked_by, Some(Kind::CREDIT_CARD));
    assert_eq!(found.findings, [(Kind::EMAIL, 1), (Kind::CREDIT_CARD, 1)].into());
    assert_eq!(found.kept, None);
    assert_eq!(said(&listener, &"mail jane@example.com".into()).blocked_by, None);
}

#[test]
fn an_identifier_cut_between_two_blocks_is_found() {
    let listener = listener(Prompts::Flag, None);
    let blocks =
        serde_json::json!([{"type": "text", "text": "pay with 4111 1111 "}, {"type": "text", "text": "1111 1111 now"}]);
    let found = said(&listener, &blocks);
    assert_eq!((found.findings, found.blocked_by), ([(Kind::CREDIT_CARD, 1)].into(), None));
}

#[test]
fn what_a_tool_is_given_is_looked_at_and_is_no_part_of_the_prompt() {
    let listener = listener(Prompts::Block, Some(1000));
    let body = format!(
        r#"{{"model":"m","messages":[{{"role":"assistant","content":[{{"type":"tool_use","id":"t","name":"pay","input":{{"card":"{CARD}"}}}}]}},{{"role":"user","content":"go on"}}]}}"#
    );
    let found = listener.request(body.as_bytes(), Shape::Message).unwrap();
    assert_eq!(found.blocked_by, Some(Kind::CREDIT_CARD));
    assert_eq!(found.kept.as_deref(), Some("go on"));
}

#[test]
fn what_is_kept_is_masked_and_bounded() {
    let keeping = listener(Prompts::Off, Some(60));
    let found = said(&keeping, &serde_json::json!(format!("from jane@example.com {}", "word ".repeat(40_000))));
    let kept = found.kept.unwrap();
    assert!(kept.starts_with("from [EMAIL:") && kept.len() == 60, "{kept}");
    assert!(found.findings.is_empty(), "nobody asked for what is in it");
    for prompts in [Prompts::Off, Prompts::Flag] {
        let blocks: Vec<_> = ["é".repeat(60_000), "x".repeat(100_000)]
            .map(|text| serde_json::json!({"type": "text", "text": text}))
            .into();
        let found = said(&listener(prompts, Some(61)), &blocks.into());
        assert_eq!(found.kept.unwrap(), "é".repeat(30), "what comes behind a cut is not appended");
    }
    let found = said(&listener(Prompts::Off, None), &"jane@example.com".into());
    assert_eq!((found.kept, found.findings), (None, Findings::new()));
}

#[test]
fn equal_words_have_one_hash_and_another_key_another() {
    let listener = listener(Prompts::Off, None);
    let whole = said(&listener, &"one two".into()).hash.unwrap();
    let blocks = serde_json::json!([{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]);
    assert_eq!(said(&listener, &blocks).hash.as_ref(), Some(&whole));
    assert_ne!(said(&listener, &"one  two".into()).hash.as_ref(), Some(&whole));
    assert_eq!(whole.len(), 32);
    let other = Masker::new(Detectors::default(), TagKey::new(&Secret::new(b"other".to_vec())));
    let other = Listener::new(Privacy::new(other, PromptRule::default(), None), None);
    assert_ne!(said(&other, &"one two".into()).hash, Some(whole));
}

#[test]
fn an_answer_is_masked_across_its_pieces_and_cut_where_nothing_is_halved() {
    let keeping = listener(Prompts::Off, Some(200));
    let mut words = keeping.answer();
    for piece in ["Write to jane", "@exam", "ple.com or pay 4111 1111", " 1111 1111."] {
        words.take(&keeping, AnswerText::Text, piece, 0);
    }
    words.take(&keeping, AnswerText::ToolInput, "{\"to\":\"jane@example.com\"}", 1);
    let (hash, kept) = keeping.conclude(words);
    let kept = kept.unwrap();
    assert!(kept.starts_with("Write to [EMAIL:") && kept.contains("pay [CREDIT_CARD:"), "{kept}");
    assert!(kept.contains("\n{\"to\":\"[EMAIL:"), "{kept}");
    let mut whole = keeping.answer();
    whole.take(&keeping, AnswerText::Text, "Write to jane@example.com or pay 4111 1111 1111 1111.", 0);
    assert_eq!(keeping.conclude(whole).0, hash, "tools' input is no part of the words");

    // However long, and whatever stands where the memory ends.
    for shift in 0..20 {
        let mut words = keeping.answer();
        let filler = " ".repeat(MaskStream::HELD + 200 - 30 + shift);
        words.take(&keeping, AnswerText::Text, &format!("{filler}jane.doe@example.com and more"), 0);
        words.take(&keeping, AnswerText::Text, "jane.doe@example.com", 0);
        let (_, kept) = keeping.conclude(words);
        assert!(!kept.unwrap().contains("jane"), "{shift}");
    }
    let (hash, kept) = listener(Prompts::Off, None).conclude(listener(Prompts::Off, None).answer());
    assert_eq!((hash, kept), (None, None));
}

#[test]
fn what_a_tool_is_to_write_is_masked_behind_escapes_too() {
    let keeping = listener(Prompts::Off, Some(500));
    let document =
        serde_json::json!({"content": "pay:\n4111111111111111\tDE89370400440532013000", "to": "\u{1f600}\u{1}\"x\\"});
    let document = document.to_string().replace('\u{1f600}', "\\uD83D\\ude00");
    for cut in 1..document.len() {
        let (one, other) = document.split_at(cut);
        let mut words = keeping.answer();
        words.take(&keeping, AnswerText::ToolInput, one, 0);
        words.take(&keeping, AnswerText::ToolInput, other, 0);
        let kept = keeping.conclude(words).1.unwrap();
        assert!(kept.contains("pay:\n[CREDIT_CARD:") && kept.contains("]\t[IBAN:"), "{cut}: {kept}");
        assert!(kept.ends_with("\"to\":\"\u{1f600}\u{1}\"x\\\"}"), "{cut}: {kept}");
    }
    assert_eq!(unescaped("\\"), None);
    assert_eq!(unescaped("\\ud83d"), None);
    assert_eq!(unescaped("\\ud83d\\n1234").as_deref(), Some("\\ud83d\\n1234"));
}
