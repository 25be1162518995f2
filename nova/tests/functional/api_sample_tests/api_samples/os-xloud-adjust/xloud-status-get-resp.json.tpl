{
    "xloud_status": {
        "actual_memory_mb": 4096,
        "actual_vcpus": 2,
        "allocated_memory_mb": 1024,
        "allocated_vcpus": 2,
        "attached_dimms_mb": 0,
        "balloon_driver_active": false,
        "blockers": [
            {
                "code": "no_balloon_statistics",
                "dimension": "memory_mb",
                "message": "The balloon driver of the guest reports no statistics. Memory can be added but not taken."
            }
        ],
        "boot_memory_mb": 1024,
        "boot_vcpus": 2,
        "condition": "InProgress",
        "current_memory_mb": 4096,
        "current_vcpus": 2,
        "desired_memory_mb": 1024,
        "desired_vcpus": 2,
        "has_virtiomem": false,
        "max_memory_mb": 4096,
        "max_vcpus": 8,
        "min_memory_mb": 1024,
        "min_vcpus": 2,
        "online_vcpus": null,
        "reason": "The server holds 2 vCPUs, 4096 MiB instead of the desired 2 vCPUs, 1024 MiB.",
        "vcpu_step": 1
    }
}
