internal import Subprocess

extension TerminationStatus {
  /// For people.
  var words: String {
    switch self {
    case .exited(let code): "exit code \(code)"
    case .signaled(let signal): "ended by signal \(signal)"
    }
  }
}
