{
    "xloud_status": {
        "actual_memory_mb": 4096,
        "actual_vcpus": 4,
        "allocated_memory_mb": 4096,
        "allocated_vcpus": 4,
        "attached_dimms_mb": 0,
        "balloon_driver_active": true,
        "blockers": [],
        "boot_memory_mb": 4096,
        "boot_vcpus": 4,
        "condition": "Settled",
        "current_memory_mb": 4096,
        "current_vcpus": 4,
        "desired_memory_mb": 4096,
        "desired_vcpus": 4,
        "has_virtiomem": false,
        "max_memory_mb": 4096,
        "max_vcpus": 8,
        "min_memory_mb": 1024,
        "min_vcpus": 2,
        "online_vcpus": null,
        "reason": null,
        "vcpu_step": 1
    }
}
