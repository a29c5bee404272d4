// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "benchmarks",
  dependencies: [
    .package(name: "eventstore", path: ".."),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
    .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2", traits: []),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
  ],
  targets: [
    .systemLibrary(name: "CLibpq", pkgConfig: "libpq"),
    .executableTarget(
      name: "benchmarks",
      dependencies: [
        "CLibpq",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "EmbeddedPostgreSQL", package: "eventstore"),
        .product(name: "EventStore", package: "eventstore"),
        .product(name: "Histogram", package: "hdrhistogram-swift"),
        .product(name: "Outbox", package: "eventstore"),
        .product(name: "PostgreSQL", package: "eventstore"),
        .product(name: "Projections", package: "eventstore"),
        .product(name: "Replay", package: "eventstore"),
        .product(name: "Subprocess", package: "swift-subprocess"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: [
        .swiftLanguageMode(.v6),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
      ]),
  ]
)
