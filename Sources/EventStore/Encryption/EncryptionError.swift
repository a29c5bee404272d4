/// Why payloads cannot be sealed or opened at all: the machine or the keyring is not fit for it.
///
/// What is wrong with one payload is a ``PayloadError``. No case ever carries a key or a part of one.
public enum EncryptionError: Error, Hashable, Sendable {
  /// This CPU has no AES instructions, or the virtual machine hides them.
  case aesUnavailable
  /// libsodium did not start: the system gives no random numbers.
  case libraryUnavailable
  /// There is no file at this path.
  case keyringNotFound(path: String)
  /// The path names a directory, a device or a pipe.
  case keyringNotAFile(path: String)
  /// Others than the owner may read or write the file. `mode` holds its permission bits.
  case keyringExposed(path: String, mode: UInt32)
  /// The file is there and cannot be read. `reason` is the system's.
  case keyringUnreadable(path: String, reason: String)
  /// The file cannot be created. `reason` is the system's.
  case keyringUnwritable(path: String, reason: String)
  /// A new keyring was asked for where there is one already; it was left as it is.
  case keyringExists(path: String)
  /// No key in it. `source` is a path, or what the keyring was read from.
  case keyringEmpty(source: String)
  /// Longer than any keyring: 1 MiB is the limit, in bytes as `limit`.
  case keyringTooLarge(source: String, limit: Int)
  /// A line that is not a key. Lines count from 1.
  case keyringMalformed(source: String, line: Int, problem: String)
  /// A key that does not belong to the id before it: a damaged line, or two lines mixed up.
  case keyringMismatch(source: String, line: Int, written: String, found: String)
  /// The store is sealed under other master keys than the active one in hand.
  case wrongMasterKey(expected: [String], found: String)
  /// Sealing was asked for without a keyring.
  case noMasterKey
}

extension EncryptionError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .aesUnavailable:
      "this CPU shows no AES instructions, which AES-256-GCM needs: run on an x86-64 CPU with AES-NI and "
        + "PCLMUL or an ARM CPU with the crypto extension; in a virtual machine, pass "
        + "them on (QEMU: -cpu host)"
    case .libraryUnavailable:
      "libsodium could not start, because the system gives no random numbers: make /dev/urandom or "
        + "getrandom() available to this process"
    case .keyringNotFound(let path):
      "no keyring at \(path): create one there, or restore it from its backup"
    case .keyringNotAFile(let path):
      "the keyring \(path) is not a regular file: give the path of a file that holds master keys"
    case .keyringExposed(let path, let mode):
      "the keyring \(path) has mode \(Self.octal(mode)), so that others than its owner have access: "
        + "run chmod 600 \(path)"
    case .keyringUnreadable(let path, let reason):
      "the keyring \(path) cannot be read: \(reason); let the user that runs this process own the file"
    case .keyringUnwritable(let path, let reason):
      "the keyring \(path) cannot be created: \(reason); choose a path that this user may write"
    case .keyringExists(let path):
      "there is a keyring at \(path) already, and it was left as it is: use it, or choose another path"
    case .keyringEmpty(let source):
      "\(source) holds no master key: expected lines of the form <id> <base64 of 32 bytes>"
    case .keyringTooLarge(let source, let limit):
      "\(source) is longer than \(limit) bytes, so it is no keyring: give the path of the file "
        + "with the master keys"
    case .keyringMalformed(let source, let line, let problem):
      "\(source), line \(line): \(problem); restore the line from the backup of the keyring"
    case .keyringMismatch(let source, let line, let written, let found):
      "\(source), line \(line): the id says \(written), the key is that of \(found): restore the line from "
        + "the backup of the keyring"
    case .wrongMasterKey(let expected, let found):
      "the store is sealed under master key \(expected.joined(separator: ", ")), but the active key in hand "
        + "is \(found): use the keyring that this store was made with"
    case .noMasterKey:
      "there is no master key to seal payloads with: give a keyring, or declare the category plaintext"
    }
  }

  private static func octal(_ mode: UInt32) -> String {
    let digits = String(mode & 0o7777, radix: 8)
    return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
  }
}
