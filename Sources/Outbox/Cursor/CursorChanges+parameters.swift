internal import EventStore
internal import PostgreSQL

extension CursorChanges {
  /// For queries/outbox_settle.sql. Times in milliseconds.
  func parameters(cursor: Int64, epoch: Int64, consumer: String) -> Parameters {
    func milliseconds(_ nanoseconds: Int64) -> Int64 { nanoseconds / 1_000_000 }
    var p = Parameters(
      cursor, epoch, place.position, place.open.isEmpty ? nil : Bytea(OpenPositions.encode(place.open)),
      place.floors.isEmpty ? nil : BinaryArray(place.floors), Int64(handled))
    p.append(BinaryArray(keys.map(\.key)))
    p.append(BinaryArray(keys.map { Int64($0.shard) }))
    p.append(BinaryArray(keys.map(\.position)))
    p.append(BinaryArray(keys.map { $0.delay.map(milliseconds) }))
    p.append(BinaryArray(keys.map { Int64($0.attempts) }))
    p.append(BinaryArray(keys.map { $0.age.map(milliseconds) }))
    p.append(BinaryArray(keys.map(\.problem)))
    p.append(BinaryArray(singles.map(\.position)))
    p.append(BinaryArray(singles.map(\.key)))
    p.append(BinaryArray(singles.map { Int64($0.shard) }))
    p.append(BinaryArray(singles.map { milliseconds($0.delay) }))
    p.append(BinaryArray(singles.map { Int64($0.attempts) }))
    p.append(BinaryArray(singles.map { $0.age.map(milliseconds) }))
    p.append(BinaryArray(singles.map(\.problem)))
    p.append(BinaryArray(singles.map(\.reason.rawValue)))
    p.append(BinaryArray(deadLetters.map(\.position)))
    p.append(BinaryArray(deadLetters.map(\.key)))
    p.append(BinaryArray(deadLetters.map { Int64($0.shard) }))
    p.append(BinaryArray(deadLetters.map(\.stream)))
    p.append(BinaryArray(deadLetters.map { Int64($0.version) }))
    p.append(BinaryArray(deadLetters.map(\.type)))
    p.append(BinaryArray(deadLetters.map(\.eventID)))
    p.append(BinaryArray(deadLetters.map(\.problem)))
    p.append(BinaryArray(deadLetters.map(\.fingerprint)))
    p.append(BinaryArray(deadLetters.map { Int64($0.attempts) }))
    p.append(BinaryArray(deadLetters.map { milliseconds($0.age) }))
    p.append(BinaryArray(deadLetters.map(\.holdsKey)))
    p.append(consumer)
    return p
  }
}
