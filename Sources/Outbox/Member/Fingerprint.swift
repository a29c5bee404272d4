internal import EventStore
internal import FoundationEssentials

/// What problems of one kind have in common: the event's type, and the words of the problem without numbers and ids.
enum Fingerprint {
  /// 12 hexadecimal digits.
  static func of(_ problem: String, type: String) -> String {
    var text = type + "\n"
    var word = ""
    func end() {
      // What has a digit in it differs from one event to the next, but for codes such as 404.
      text += word.contains { $0.isNumber } && (word.count > 3 || Int(word) == nil) ? "#" : word
      word = ""
    }
    for character in problem.prefix(500) {
      if character.isLetter || character.isNumber || character == "-" || character == "_" {
        word.append(character)
      } else {
        end()
        text.append(character)
      }
    }
    end()
    return String(UUID.v8(digestOf: Array(text.utf8)).uuidString.filter { $0 != "-" }.prefix(12)).lowercased()
  }
}
