import EventStore
import FoundationEssentials
import TestSupport

@testable import Outbox

/// A store of one consumer group in memory, with members that read, handle, write down, die, hand shards over and merge, in an
/// order that a seed decides. It checks at each step what the outbox promises.
struct CursorModel {
  struct Broken: Error, CustomStringConvertible {
    let description: String
  }

  /// What the database would hold.
  struct Row {
    var shards: ShardSet
    var place: CursorPlace
    var epoch = 0
  }

  final class Member {
    let row: Int
    let epoch: Int
    let state: CursorState
    var read: Int64
    var flights: [Flight] = []
    /// Done since the last time that it was written down.
    var done: Set<Int64> = []

    init(row: Int, epoch: Int, state: CursorState, read: Int64) {
      self.row = row
      self.epoch = epoch
      self.state = state
      self.read = read
    }
  }

  var random: SeededNumbers
  let holdsKeys: Bool
  let perStart: Int
  /// Whether later events pass one that waits for its time; `nil`: there are no such.
  let timersPass: Bool?
  /// When an event may start.
  private var due: [Int64: Int64] = [:]
  var events: [RecordedEvent] = []
  var rows: [Int: Row] = [0: Row(shards: .all, place: CursorPlace(position: 0))]
  var lastRow = 0
  private var keyRows: [String: KeyRow] = [:]
  private var singles: [Int64: SingleEvent] = [:]
  private var parked: [Int64: DeadLetter] = [:]
  var members: [Member] = []
  var now: Int64 = 0

  // What the oracle knows.
  private var failuresLeft: [Int64: Int] = [:]
  private var poison: Set<Int64> = []
  private var passed: Set<Int64> = []
  private var durable: Set<Int64> = []
  private var redriven: Set<Int64> = []
  private(set) var redeliveries = 0
  private(set) var starts = 0
  private(set) var crashes = 0
  var splits = 0
  var merges = 0
  private(set) var spills = 0

  private static let limits = CursorState.Limits(
    window: 24, eventsKept: 3, eventsKeptInAll: 5, positionsKept: 200, keysBehind: 6)

  init(seed: UInt64, holdsKeys: Bool, perStart: Int, timersPass: Bool?) {
    self.timersPass = timersPass
    random = SeededNumbers(seed: seed)
    self.holdsKeys = holdsKeys
    self.perStart = perStart
  }

  private static func key(_ event: RecordedEvent) -> (name: String, shard: UInt8)? {
    // Some are none of the group's.
    event.type == "other" ? nil : (event.stream.description, event.shard)
  }

  private mutating func append() {
    let position = (events.last?.position.rawValue ?? 0) + Int64.random(in: 1...3, using: &random)
    // One key is hot.
    let number = Bool.random(using: &random) ? 0 : Int.random(in: 0..<9, using: &random)
    let type = Int.random(in: 0..<10, using: &random) == 0 ? "other" : "own"
    events.append(
      RecordedEvent(
        id: UUID(), stream: StreamName(trusted: "key-\(number)"), version: 1, position: Position(position), type: type,
        schemaVersion: 1, recordedAt: .now, payload: .success(.json("{}"))))
    if timersPass != nil, Int.random(in: 0..<12, using: &random) == 0 {
      due[position] = Int64.random(in: 0...1_500_000_000, using: &random)
    }
    switch Int.random(in: 0..<30, using: &random) {
    case 0: poison.insert(position)
    case 1...2: failuresLeft[position] = Int.random(in: 1...3, using: &random)
    default: break
    }
  }

  // MARK: Steps

  mutating func run(events count: Int, steps: Int) throws {
    for _ in 0..<count { append() }
    for _ in 0..<steps {
      try step()
      for member in members where member.state.eventsKept != member.state.eventsInBacklogs {
        throw Broken(
          description: "\(member.state.eventsInBacklogs) events are kept, and \(member.state.eventsKept) counted")
      }
    }
    // Then nothing goes wrong any more.
    var rounds = 0
    while try !isOver() {
      rounds += 1
      guard rounds < 20_000 else { throw Broken(description: "it does not end: \(summary)") }
      now += 1_000_000
      for row in rows.keys where !members.contains(where: { $0.row == row && $0.epoch == rows[row]?.epoch }) {
        take(row)
      }
      members.removeAll { rows[$0.row]?.epoch != $0.epoch }
      for member in members {
        read(member)
        try start(member)
        try finish(member)
        write(member)
      }
      if holdsKeys { redrive() }
    }
    let own = Set(events.filter { Self.key($0) != nil }.map(\.position.rawValue))
    guard passed == own else { throw Broken(description: "not handled: \(own.subtracting(passed).sorted())") }
    let expected = holdsKeys ? [] : poison.intersection(own)
    guard Set(parked.keys) == expected else {
      throw Broken(description: "parked: \(parked.keys.sorted()), expected: \(expected.sorted())")
    }
  }

  private var summary: String {
    "rows \(rows), keys \(keyRows), singles \(singles.keys), parked \(parked.keys), waiting \(members.map(\.state.waiting))"
  }

  private func isOver() throws -> Bool {
    let end = events.last?.position.rawValue ?? 0
    return rows.values.allSatisfy { $0.place.position >= end && $0.place.open.isEmpty } && keyRows.isEmpty
      && singles.isEmpty && (parked.isEmpty || !holdsKeys)
  }

  private mutating func step() throws {
    now += Int64.random(in: 0...3_000_000, using: &random)
    let orphans = rows.keys.filter { row in !members.contains { $0.row == row && $0.epoch == rows[row]?.epoch } }
    if let row = orphans.sorted().first, Int.random(in: 0..<6, using: &random) == 0 || members.isEmpty { take(row) }
    if orphans.count > 1, Int.random(in: 0..<4, using: &random) == 0 { join() }
    guard let member = members.randomElement(using: &random) else { return }
    switch Int.random(in: 0..<100, using: &random) {
    case 0..<25: read(member)
    case 25..<55: try start(member)
    case 55..<80: try finish(member)
    case 80..<90: write(member)
    case 90..<92:
      // It dies, or is thought to be dead while it goes on.
      crashes += 1
      rows[member.row]?.epoch += 1
      if Bool.random(using: &random) { members.removeAll { $0 === member } }
    case 92..<94: split(member)
    case 94..<96: merge(member)
    case 96..<97:
      spills += 1
      member.state.spill(now: now)
    case 97..<98: redrive()
    default: now += 50_000_000
    }
  }

  private mutating func take(_ number: Int) {
    guard var row = rows[number] else { return }
    row.epoch += 1
    rows[number] = row
    // Whoever had it before finds out when it writes; here it stays and goes on meanwhile.
    var rules = CursorRules()
    if let timersPass {
      let due = due
      rules.timersPass = timersPass
      rules.timer = { due[$0.position.rawValue] }
    }
    let state = CursorState(at: row.place, shards: row.shards, limits: Self.limits, rules: rules)
    for key in keyRows.values.sorted(by: { $0.key < $1.key }) where row.shards.contains(key.shard) {
      let floor = row.place.floors.isEmpty ? 0 : row.place.floors[Int(key.shard)]
      let reached = max(row.place.position, floor)
      let backlog = events.filter {
        Self.key($0)?.name == key.key && $0.position.rawValue > key.position && $0.position.rawValue <= reached
      }
      state.restore(key, backlog: backlog.map(\.position.rawValue), now: now)
    }
    for single in singles.values.sorted(by: { $0.position < $1.position }) { state.restore(single, now: now) }
    let open = events.filter { row.place.open.contains($0.position.rawValue) }
    state.admit(open, areReopened: true, key: Self.key)
    members.append(Member(row: number, epoch: row.epoch, state: state, read: row.place.position))
  }

  private mutating func read(_ member: Member) {
    guard member.state.hasRoom else { return }
    let page = Array(
      events.filter { $0.position.rawValue > member.read }.prefix(Int.random(in: 1...12, using: &random)))
    guard let last = page.last else { return member.state.settle(at: member.read) }
    member.read = last.position.rawValue
    member.state.admit(page, key: Self.key)
  }

  var isCurrent: (Member) -> Bool { { [rows] in rows[$0.row]?.epoch == $0.epoch } }

  private mutating func start(_ member: Member) throws {
    let wanted = member.state.takeWanted(now: now)
    if !wanted.isEmpty {
      member.state.deliver(
        events.filter { wanted.contains($0.position.rawValue) }, wanted: wanted, now: now, key: Self.key)
    }
    for _ in 0..<Int.random(in: 1...6, using: &random) {
      guard let flight = member.state.start(upTo: perStart, now: now) else { return }
      member.flights.append(flight)
      starts += 1
      // One that was declared dead may still start something: nothing of it counts.
      guard isCurrent(member) else { continue }
      for entry in [flight.first] + flight.more {
        guard entry.event != nil else { throw Broken(description: "\(entry.position) started without its event") }
        if passed.contains(entry.position) { redeliveries += 1 }
        if durable.contains(entry.position), entry.reason != .redrive, !redriven.contains(entry.position) {
          throw Broken(description: "\(entry.position) of \(flight.key) came again after it was written down")
        }
        if let due = due[entry.position], due > now, !redriven.contains(entry.position) {
          throw Broken(description: "\(entry.position) started before its time")
        }
        try checkOrder(entry, flight, member)
      }
    }
  }

  private func checkOrder(_ entry: Entry, _ flight: Flight, _ member: Member) throws {
    for other in members where isCurrent(other) {
      for one in other.flights where one.key == flight.key && one.number != flight.number {
        throw Broken(
          description: "\(entry.position) of \(flight.key) started while \(one.first.position) was in flight")
      }
    }
    guard !entry.isSingle else { return }
    for event in events where event.position.rawValue < entry.position && Self.key(event)?.name == flight.key {
      let position = event.position.rawValue
      if timersPass == true, due[position] != nil { continue }
      guard
        passed.contains(position) || flight.more.contains(where: { $0.position == position })
          || flight.first.position == position
      else { throw Broken(description: "\(entry.position) of \(flight.key) started before \(position)") }
    }
  }

  private mutating func finish(_ member: Member) throws {
    for _ in 0..<Int.random(in: 1...4, using: &random) {
      guard !member.flights.isEmpty else { return }
      let flight = member.flights.remove(at: Int.random(in: 0..<member.flights.count, using: &random))
      var outcomes: [Outcome] = []
      for entry in [flight.first] + flight.more {
        let outcome = outcome(entry)
        outcomes.append(outcome)
        switch outcome {
        case .done, .parked(_, _, false):
          if isCurrent(member) {
            passed.insert(entry.position)
            member.done.insert(entry.position)
          }
          continue
        case .parked:
          if isCurrent(member) {
            passed.insert(entry.position)
            member.done.insert(entry.position)
          }
        case .retry, .postponed: break
        }
        break
      }
      guard member.state.finish(flight, outcomes, now: now) else {
        throw Broken(description: "\(flight.first.position) was not in flight any more")
      }
    }
  }

  private mutating func outcome(_ entry: Entry) -> Outcome {
    if poison.contains(entry.position) {
      // A person has mended what was wrong.
      if redriven.contains(entry.position) { return .done }
      return entry.attempts < 2
        ? .retry(after: .milliseconds(5), problem: "poison")
        : .parked(problem: "poison", fingerprint: "p", holdsKey: holdsKeys)
    }
    if let left = failuresLeft[entry.position], left > 0 {
      failuresLeft[entry.position] = left - 1
      return .retry(after: .milliseconds(Int.random(in: 0...20, using: &random)), problem: "not yet")
    }
    return Int.random(in: 0..<40, using: &random) == 0
      ? .postponed(.milliseconds(Int.random(in: 0...3, using: &random))) : .done
  }

  mutating func write(_ member: Member) {
    guard let changes = member.state.takeChanges(now: now) else { return }
    guard isCurrent(member) else {
      members.removeAll { $0 === member }
      return
    }
    // The server is away now and then.
    if Int.random(in: 0..<8, using: &random) == 0 { return member.state.putBack(changes) }
    rows[member.row]?.place = changes.place
    for key in changes.keys { keyRows[key.key] = key.attempts < 0 ? nil : key }
    for single in changes.singles { singles[single.position] = single.attempts < 0 ? nil : single }
    for letter in changes.deadLetters { parked[letter.position] = letter }
    durable.formUnion(member.done)
    member.done = []
  }

  /// What a person does about dead letters.
  private mutating func redrive() {
    guard let letter = parked.values.min(by: { $0.position < $1.position }) else { return }
    if letter.holdsKey {
      let row = KeyRow(
        key: letter.key, shard: letter.shard, position: letter.position - 1, delay: 0, attempts: 0, age: nil,
        problem: nil)
      // Its owner may not have written yet that it holds the key.
      guard keyRows[letter.key]?.delay == nil, keyRows[letter.key] != nil else { return }
      keyRows[letter.key] = row
      for member in members where isCurrent(member) { member.state.release(row, now: now) }
    } else {
      guard !redriven.contains(letter.position) else { return }
      let single = SingleEvent(
        position: letter.position, key: letter.key, shard: letter.shard, reason: .redrive, delay: 0, attempts: 0,
        age: nil, problem: nil)
      singles[letter.position] = single
      for member in members where isCurrent(member) { member.state.restore(single, now: now) }
      poison.remove(letter.position)
    }
    parked[letter.position] = nil
    redriven.insert(letter.position)
  }
}

extension CursorState {
  /// Of keys that are behind, events that are in memory.
  var eventsInBacklogs: Int {
    keys.values.reduce(0) { $0 + ($1.behind == nil ? 0 : $1.queue.count { $0.event != nil }) }
  }
}
