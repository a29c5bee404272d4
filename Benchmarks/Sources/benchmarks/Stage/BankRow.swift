import Glibc

/// A row of a bank's transactions, as the import reads them: accounts side by side, in order of time.
struct BankRow {
  static let accounts = 4500

  let number: Int
  var account: Int { 1 + number % Self.accounts }
  /// Of its account's transactions, from 1.
  var version: Int { 1 + number / Self.accounts }
  var type: [UInt8] { Array((isDeposit ? "PRIJEM" : "VYDAJ").utf8) }
  /// Since 2000-01-01.
  var day: Int { number / 10_000 }

  private var isDeposit: Bool { number % 3 == 0 }

  private static let names = ["trans_id", "account_id", "date", "type", "operation", "amount", "balance", "bank"]

  init(_ number: Int) { self.number = number }

  private var values: [String] {
    [
      "\(100_000 + number)", "\(account)", "\(946_684_800 + day * 86_400)", isDeposit ? "PRIJEM" : "VYDAJ",
      isDeposit ? "VKLAD" : "VYBER", "\(100 + number % 9000).00", "\(1000 + number % 90_000).00", "AB",
    ]
  }

  /// What the import makes of it.
  var json: [UInt8] {
    let members = zip(Self.names, values).map { #""\#($0)":"\#($1)""# }
    return Array("{\(members.joined(separator: ","))}".utf8)
  }

  static func write(_ rows: Int, to path: String) throws {
    guard let file = fopen(path, "w") else { throw Problem("\(path) cannot be written (error \(errno))") }
    defer { fclose(file) }
    fputs(names.joined(separator: ";") + "\n", file)
    for number in 0..<rows { fputs(BankRow(number).values.joined(separator: ";") + "\n", file) }
    guard ferror(file) == 0 else { throw Problem("\(path) cannot be written: is the disk full?") }
  }
}
