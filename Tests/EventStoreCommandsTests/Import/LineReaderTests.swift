import Foundation
import TestSupport
import Testing

@testable import EventStoreCommands

@Suite("Line reader")
struct LineReaderTests {
  private func lines(_ text: String, limit: Int = LineReader.defaultLimit, seed: UInt64 = 1) throws
    -> [String]
  {
    var reader = LineReader(input: .pieces(of: Array(text.utf8), seed: seed), limit: limit)
    var result: [String] = []
    while try reader.advance() {
      result.append(String(decoding: reader.line, as: UTF8.self))
      #expect(reader.lineNumber == result.count)
      // The offset leads back to the line.
      let rest = Array(text.utf8)[reader.byteOffset...]
      #expect(rest.starts(with: reader.line))
    }
    #expect(reader.bytesConsumed == text.utf8.count)
    #expect(reader.bytesRead == text.utf8.count)
    #expect(try !reader.advance())
    return result
  }

  @Test(
    "line ends of all kinds",
    arguments: [
      ("", []), ("a", ["a"]), ("a\n", ["a"]), ("a\r\n", ["a"]), ("a\nb", ["a", "b"]), ("\n", [""]),
      ("\n\na\n", ["", "", "a"]), ("a\r\n\r\nb\r", ["a", "", "b"]), ("a\rb\n", ["a\rb"]),
      ("\u{FEFF}a\nb\n", ["a", "b"]),
      ("\u{FEFF}", []),
    ] as [(String, [String])])
  func lineEnds(text: String, expected: [String]) throws {
    for seed in 0..<20 as Range<UInt64> { #expect(try lines(text, seed: seed) == expected) }
  }

  @Test("long lines at random borders", arguments: 0..<30 as Range<UInt64>)
  func randomBorders(seed: UInt64) throws {
    var random = SeededNumbers(seed: seed)
    let expected = (0..<100).map { _ in String(repeating: "x", count: Int.random(in: 0...300, using: &random))
    }
    #expect(try lines(expected.joined(separator: "\n") + "\n", seed: seed) == expected)
  }

  @Test("a line over the limit is an error with its number")
  func limit() throws {
    #expect(try lines("12345\n12345\r\n12345", limit: 5) == ["12345", "12345", "12345"])
    for text in ["12345\n123456\n", "12345\n123456", "1\n" + String(repeating: "x", count: 10_000)] {
      #expect(throws: InputError.tooLong(line: 2, limit: 5)) { try lines(text, limit: 5) }
    }
  }

  @Test("blank lines are told apart")
  func blank() throws {
    var reader = LineReader(input: .pieces(of: Array(" \t\n\nx\n".utf8)), limit: 100)
    var blank: [Bool] = []
    while try reader.advance() { blank.append(reader.isBlank) }
    #expect(blank == [true, true, false])
  }

  @Test("reads a file and knows its size; a pipe has none")
  func fileAndPipe() throws {
    let path = FileManager.default.temporaryDirectory.path + "/lines-\(UUID().uuidString)"
    defer { try? FileManager.default.removeItem(atPath: path) }
    // Larger than a chunk.
    let text = (0..<300_000).map { "line \($0)\n" }.joined()
    try Data(text.utf8).write(to: URL(fileURLWithPath: path))
    var reader = try LineReader(path: path)
    #expect(reader.totalSize == text.utf8.count)
    var count = 0
    while try reader.advance() {
      if count % 1_000 == 0 { #expect(String(decoding: reader.line, as: UTF8.self) == "line \(count)") }
      count += 1
    }
    #expect(count == 300_000)

    let pipe = Pipe()
    try pipe.fileHandleForWriting.write(contentsOf: Data("a\nb".utf8))
    try pipe.fileHandleForWriting.close()
    var piped = LineReader(descriptor: pipe.fileHandleForReading.fileDescriptor, name: "pipe")
    #expect(piped.totalSize == nil)
    var lines: [String] = []
    while try piped.advance() { lines.append(String(decoding: piped.line, as: UTF8.self)) }
    #expect(lines == ["a", "b"])
  }

  @Test("what cannot be opened says why")
  func cannotOpen() {
    #expect(throws: InputError.cannotOpen(path: "/nowhere/x", reason: "No such file or directory")) {
      _ = try LineReader(path: "/nowhere/x")
    }
    #expect(throws: InputError.cannotOpen(path: "/", reason: "it is a directory")) {
      _ = try LineReader(path: "/")
    }
  }
}
