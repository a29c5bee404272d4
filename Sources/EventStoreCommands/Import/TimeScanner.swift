/// Takes the parts of a time from bytes, one after the other.
struct TimeScanner {
  let bytes: UnsafeRawBufferPointer
  var index = 0
  var year = 1970
  var month = 1
  var day = 1
  var hour = 0
  var minute = 0
  var second = 0
  var microsecond = 0
  var offsetSeconds = 0

  init(bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  @inline(__always)
  private var byte: UInt8 { index < bytes.count ? bytes[index] : 0 }

  private func mismatch(_ expected: String) -> TimeFormatError {
    .mismatch(offset: index, expected: expected)
  }

  @inline(__always)
  mutating func takeNumber(
    _ digits: ClosedRange<Int>, _ expected: @autoclosure () -> String
  ) throws(TimeFormatError) -> Int {
    var value = 0
    var count = 0
    while count < digits.upperBound {
      let digit = byte &- UInt8(ascii: "0")
      guard digit < 10 else { break }
      value = value * 10 + Int(digit)
      index += 1
      count += 1
    }
    guard count >= digits.lowerBound else { throw mismatch(expected()) }
    return value
  }

  /// A second's fraction, without its point. Digits beyond the sixth are checked and cut off.
  @inline(__always)
  mutating func takeFraction(_ digits: ClosedRange<Int>) throws(TimeFormatError) {
    var value = 0
    var count = 0
    while count < digits.upperBound {
      let digit = byte &- UInt8(ascii: "0")
      guard digit < 10 else { break }
      if count < 6 { value = value * 10 + Int(digit) }
      index += 1
      count += 1
    }
    guard count >= digits.lowerBound else { throw mismatch("a digit of the second's fraction") }
    while count < 6 {
      value *= 10
      count += 1
    }
    microsecond = value
  }

  mutating func takeLiteral(_ literal: [UInt8]) throws(TimeFormatError) {
    for wanted in literal { try takeByte(wanted) }
  }

  @inline(__always)
  private mutating func takeByte(_ wanted: UInt8) throws(TimeFormatError) {
    guard index < bytes.count, bytes[index] == wanted else {
      throw mismatch("\"\(Character(Unicode.Scalar(wanted)))\"")
    }
    index += 1
  }

  /// `Z`, `+02:00`, `+0200` or `+02`.
  mutating func takeOffset() throws(TimeFormatError) {
    switch byte {
    case UInt8(ascii: "Z"), UInt8(ascii: "z"): index += 1
    case UInt8(ascii: "+"), UInt8(ascii: "-"):
      let sign = byte == UInt8(ascii: "-") ? -1 : 1
      index += 1
      let hours = try takeNumber(2...2, "an offset's hours of 2 digits")
      var minutes = 0
      if byte == UInt8(ascii: ":") {
        index += 1
        minutes = try takeNumber(2...2, "an offset's minutes of 2 digits")
      } else if byte &- UInt8(ascii: "0") < 10 {
        minutes = try takeNumber(2...2, "an offset's minutes of 2 digits")
      }
      guard hours <= 18, minutes < 60 else { throw .noSuchTime }
      offsetSeconds = sign * (hours * 3_600 + minutes * 60)
    default: throw mismatch("an offset: Z, +02:00, +0200 or +02")
    }
  }

  mutating func takeISO8601() throws(TimeFormatError) -> Int64 {
    year = try takeNumber(4...4, "a year of 4 digits, as in 2026-11-21T03:48:13Z")
    try takeByte(UInt8(ascii: "-"))
    month = try takeNumber(2...2, "a month of 2 digits")
    try takeByte(UInt8(ascii: "-"))
    day = try takeNumber(2...2, "a day of 2 digits")
    if index == bytes.count { return try finish() }
    guard byte | 0x20 == UInt8(ascii: "t") || byte == UInt8(ascii: " ") else {
      throw mismatch("T or a space")
    }
    index += 1
    hour = try takeNumber(2...2, "an hour of 2 digits")
    try takeByte(UInt8(ascii: ":"))
    minute = try takeNumber(2...2, "a minute of 2 digits")
    if byte == UInt8(ascii: ":") {
      index += 1
      second = try takeNumber(2...2, "a second of 2 digits")
      if byte == UInt8(ascii: ".") || byte == UInt8(ascii: ",") {
        index += 1
        try takeFraction(1...Int.max)
      }
    }
    if index < bytes.count { try takeOffset() }
    return try finish()
  }

  /// A count of seconds or milliseconds since 1970, with a sign and decimals if it likes.
  ///
  /// - Parameter scale: how many microseconds the unit has.
  mutating func takeCount(scale: Int) throws(TimeFormatError) -> Int64 {
    let isNegative = byte == UInt8(ascii: "-")
    if isNegative || byte == UInt8(ascii: "+") { index += 1 }
    let whole = try takeNumber(1...15, "a number")
    guard byte &- UInt8(ascii: "0") >= 10 else { throw .outOfRange }
    if byte == UInt8(ascii: ".") {
      index += 1
      try takeFraction(1...Int.max)
    }
    guard index == bytes.count else { throw mismatch("the end of the number") }
    let (product, overflow) = whole.multipliedReportingOverflow(by: scale)
    guard !overflow, product <= Self.last else { throw .outOfRange }
    // The fraction was read as millionths of the unit; what is below a microsecond is cut off, towards the
    // past.
    let millionths = microsecond * scale
    let part = isNegative ? (millionths + 999_999) / 1_000_000 : millionths / 1_000_000
    return try Self.checked(isNegative ? -product - part : product + part)
  }

  /// The time that the parts make, if they make a real one and nothing is left.
  func finish() throws(TimeFormatError) -> Int64 {
    guard index == bytes.count else { throw mismatch("the end of the time") }
    guard year >= 1, day >= 1, day <= CivilTime.daysIn(month: month, year: year) else { throw .noSuchDate }
    guard hour < 24, minute < 60, second < 60 else { throw .noSuchTime }
    let seconds =
      CivilTime.days(year: year, month: month, day: day) * 86_400 + hour * 3_600 + minute * 60 + second
      - offsetSeconds
    return try Self.checked(seconds * 1_000_000 + microsecond)
  }

  /// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z.
  private static let first = -62_135_596_800_000_000
  private static let last = 253_402_300_799_999_999

  @inline(__always)
  private static func checked(_ microseconds: Int) throws(TimeFormatError) -> Int64 {
    guard microseconds >= first, microseconds <= last else { throw .outOfRange }
    return Int64(microseconds)
  }
}
