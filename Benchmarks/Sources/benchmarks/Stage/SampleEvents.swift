import EventStore
import FoundationEssentials

/// The event of all scenarios: 256 bytes of JSON.
struct Deposited: Event {
  static let eventType = "account.deposited"
  static let payloadBytes = 256

  var account: String
  var amount: Int
  var balance: Int
  var note: String
}

/// Payloads made beforehand, so that making them is not measured.
enum SamplePayloads {
  static let all: [[UInt8]] = (0..<64).map { number in
    let head =
      #"{"account":"account-\#(100_000 + number)","amount":\#(100 + number),"balance":\#(50_000 + number),"note":""#
    let padding = Deposited.payloadBytes - head.utf8.count - 2
    let letters = Array("abcdefghijklmnopqrstuvwxyz 0123456789".utf8)
    var text = Array(head.utf8)
    for place in 0..<padding { text.append(letters[(place * 7 + number * 13) % letters.count]) }
    return text + Array(#""}"#.utf8)
  }

  static func payload(_ number: Int) -> [UInt8] { all[number & 63] }

  static func event(_ number: Int) -> EventData {
    EventData(type: Deposited.eventType, payload: Payload(bytes: payload(number), content: .json))
  }
}
