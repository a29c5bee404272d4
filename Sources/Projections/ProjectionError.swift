public import EventStore

/// Why something could not be done with a projection. Nothing was changed, unless it says so.
public enum ProjectionError: Error, Sendable, Hashable {
  /// No projection has this name.
  case notFound(name: String, known: [String])
  /// The projection has no build in this role.
  case noBuild(name: String, ProjectionBuild.Role)
  /// There is a build in this role already.
  case exists(name: String, ProjectionBuild.Role, version: Int)
  /// Another process builds it just now.
  case underWay(name: String, process: String)
  /// The version is lower than the live one.
  case versionGoesBack(name: String, live: Int, given: Int)
  /// The definition is another one, but the version is the same.
  case changed(name: String, version: Int)
  /// It has not reached the end of the log yet.
  case notCaughtUp(name: String, behind: Int)
  /// It stopped at an event.
  case stopped(name: String, version: Int, ProjectionFailure)
  /// It is paused: resume it first.
  case paused(name: String)
  /// This process has not the code that it is in.
  case codeMissing(name: String, kind: ProjectionBuild.Kind)
  /// A table or view of this name is there, and not the projection's.
  case nameTaken(view: String, by: String)
  /// Others' views are built on the projection's, and would not survive the change.
  case dependents(view: String, dependents: [String])
  /// Readers did not let go of the views in time.
  case busy(name: String, what: String)
  /// It did not come so far in the time allowed.
  case timedOut(name: String, waitedFor: Position, reached: Position)
  /// The request itself is wrong.
  case invalid(String)
}

extension ProjectionError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .notFound(let name, let known):
      "there is no projection \(name)"
        + (known.isEmpty
          ? "; there is none at all: `esctl projections run FILE.sql` makes one"
          : "; there are: \(known.joined(separator: ", "))")
    case .noBuild(let name, .new): "projection \(name) has no new build: `esctl projections rebuild \(name)` makes one"
    case .noBuild(let name, .previous): "projection \(name) has no previous version to go back to"
    case .noBuild(let name, .live): "projection \(name) has no live version yet: it becomes live once it has caught up"
    case .exists(let name, .new, let version):
      "projection \(name) has a new build already, of version \(version): switch to it or abandon it first"
    case .exists(let name, .previous, let version):
      "version \(version) of projection \(name) is still kept for a way back: retire it first"
    case .exists(let name, .live, let version):
      "projection \(name) is live in version \(version): build another one beside it with `esctl projections rebuild`"
    case .underWay(let name, let process): "projection \(name) is being rebuilt by \(process)"
    case .versionGoesBack(let name, let live, let given):
      "projection \(name) is live in version \(live), the given one is \(given): a version only goes up"
    case .changed(let name, let version):
      "projection \(name) is defined otherwise in the store, but has the same version \(version): raise the version"
    case .notCaughtUp(let name, let behind):
      "the new build of projection \(name) has not caught up yet"
        + (behind > 0 ? ", it is \(behind > 10_000 ? "more than 10000" : "\(behind)") events behind" : "")
        + ": wait for `esctl projections rebuild \(name)` to end"
    case .stopped(let name, let version, let failure):
      "version \(version) of projection \(name) has stopped: \(failure.description); mend the cause, then "
        + "`esctl projections resume \(name)`"
    case .paused(let name): "projection \(name) is paused: `esctl projections resume \(name)`"
    case .codeMissing(let name, let kind):
      "projection \(name) is in \(kind == .sql ? "a file" : "a service's code"), which this program does not have"
    case .nameTaken(let view, let by): "the name \(view) is taken by \(by): rename the table"
    case .dependents(let view, let dependents):
      "\(dependents.joined(separator: ", ")) \(dependents.count == 1 ? "is" : "are") built on \(view), which loses or "
        + "changes columns: drop \(dependents.count == 1 ? "it" : "them") first"
    case .busy(let name, let what): "\(what) of projection \(name) did not come free in time: try again"
    case .timedOut(let name, let position, let reached):
      "projection \(name) had not reached position \(position) in time, it is at \(reached)"
    case .invalid(let problem): problem
    }
  }
}
