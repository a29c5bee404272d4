/// Bytes that are not the JSON that was asked for: where, and what should have stood there.
///
/// It never carries any of the text itself, which may be a secret payload.
package struct JSONTextError: Error, Hashable, Sendable, CustomStringConvertible {
  package enum Expectation: Hashable, Sendable {
    case value, object, key, colon, commaOrBrace, commaOrBracket, endOfText
    case digit, integer, closingQuote, escapedControlCharacter, escape, hexDigits, surrogatePair, validUTF8,
      string
    case depth(atMost: Int)
    case uniqueKey
  }

  /// Where the problem is, in bytes from the start of the text, from 0.
  package let offset: Int
  package let expected: Expectation

  package init(offset: Int, expected: Expectation) {
    self.offset = offset
    self.expected = expected
  }

  package var description: String {
    let what =
      switch expected {
      case .value: "expected a JSON value"
      case .object: "expected a JSON object: {"
      case .key: "expected a member's name in double quotes"
      case .colon: "expected : after a member's name"
      case .commaOrBrace: "expected , or } after a member"
      case .commaOrBracket: "expected , or ] after an element"
      case .endOfText: "expected nothing more after the JSON value"
      case .digit: "expected a digit (a number has no leading zeros, and digits after . and e)"
      case .integer: "expected an integer of at most 64 bits, without fraction or exponent"
      case .closingQuote: "expected the double quote that ends the string"
      case .escapedControlCharacter:
        "expected control characters in a string to be escaped, as \\n or \\u000a"
      case .escape: "expected one of \" \\ / b f n r t u after a backslash"
      case .hexDigits: "expected four hexadecimal digits after \\u"
      case .surrogatePair: "expected a high surrogate escape followed by a low one"
      case .validUTF8: "expected valid UTF-8; convert the text to UTF-8"
      case .string: "expected a string in double quotes"
      case .depth(let limit): "expected at most \(limit) levels of nested objects and arrays"
      case .uniqueKey: "expected each member's name only once in the object; remove or rename the second one"
      }
    return "invalid JSON at byte \(offset): \(what)"
  }
}
